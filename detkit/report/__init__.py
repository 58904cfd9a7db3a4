"""What `detkit eval` shows: text tables, plots and a self-contained page."""
