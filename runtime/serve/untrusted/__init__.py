"""What clients send is decoded here."""
