//! The machine, step by step, with made-up instants.
