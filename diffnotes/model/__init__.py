"""Networks, how they are trained and kept, and how they are sampled."""
