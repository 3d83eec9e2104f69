"""What a course needs: exercises without and with their solutions, marks, slides, and what covers which objective."""
