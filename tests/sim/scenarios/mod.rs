//! The scenarios, by what they are about.

mod attacks;
mod calls;
mod key_frames;
mod loss;
mod reports;
mod repeatable;
mod vanishing;
mod workers;
