"""What is asked of a fit: free functions, each found by the name that the field has for it."""
