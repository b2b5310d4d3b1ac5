"""What is measured, how, and the demonstration."""
