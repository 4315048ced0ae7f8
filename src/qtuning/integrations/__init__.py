"""Other people's trainers: one file a program, which only that program loads."""
