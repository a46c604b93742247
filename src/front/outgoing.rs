//! Requests of this server to others: webhooks, questions to them, a certificate authority.

use reqwest::{Client, ClientBuilder, redirect};

/// A client that goes where it is told and nowhere else: no redirect, no proxy. Callers set how
/// long they wait.
pub fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("leafcutter/", env!("CARGO_PKG_VERSION")))
}
