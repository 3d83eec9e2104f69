"""What a course needs beside its pages: editions without and with solutions, and marks."""
