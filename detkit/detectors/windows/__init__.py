"""Any classifier network in a sliding window, and how windows become boxes."""
