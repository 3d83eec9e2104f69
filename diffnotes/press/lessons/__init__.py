"""What belongs to the pages for those who teach and learn by them: slides, questions, and what covers which objective."""
