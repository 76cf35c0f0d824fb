"""Which command goes when, what Graph's answer means, and what is done where no answer came."""
