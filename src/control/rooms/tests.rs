//! Stories of rooms, told to the directory.
