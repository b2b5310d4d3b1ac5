"""What an interrupted film goes on from: closed segments, their journal, and what stages remember."""
