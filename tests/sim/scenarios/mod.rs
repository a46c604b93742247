//! The scenarios, by what they are about.

mod attacks;
mod audio;
mod calls;
mod data;
mod floods;
mod key_frames;
mod layers;
mod loss;
mod narrow;
mod one_port;
mod reoffers;
mod repeatable;
mod reports;
mod rooms;
mod slots;
mod sources;
mod switches;
mod tcp;
mod vanishing;
mod workers;
mod worlds;
