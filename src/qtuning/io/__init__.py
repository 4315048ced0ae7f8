"""Read and check the files and names that users give, before anything is loaded."""
