//! The HTTP server through real connections on loopback, with a real store behind it.

mod credentials;
mod files;
mod limits;
mod orders;
mod pages;
mod paging;
mod routes;
pub mod site;
mod starting;
mod who;
