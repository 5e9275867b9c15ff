//! Every verb of the command line, as the real binary in a folder of its own.

mod doctor;
mod files;
mod orders;
mod server;
