"""What a deployment shows of itself: its members, open transactions, what stands in our way."""
