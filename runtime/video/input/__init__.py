"""What a film is read from: files, numbered images, animations; each as frames and packets on one clock."""
