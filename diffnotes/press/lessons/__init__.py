"""What pages have for those who teach and learn by them: slides, questions, and what covers which objective."""
