"""What a run writes about itself: run documents, journal, lease, and the batches that keep them."""
