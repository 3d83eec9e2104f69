"""What a teacher of the book gets besides its pages: a deck of slides for each chapter (:mod:`.slides`)."""
