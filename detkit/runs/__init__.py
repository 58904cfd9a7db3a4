"""One run over pictures and videos: sources, batches, records, the journal and the writers."""
