//! A person at a browser: signs in, reads the page of an action, and presses its button.
//!
//! In: the address, name and password. Out: pages; one decision. Never: a form field that the page
//! did not hold; the API, which people do not use.

use anyhow::{Context, Result, anyhow, bail};
use regex::Regex;
use reqwest::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, StatusCode, Url, redirect};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);

/// A browser, perhaps with a session.
pub struct Browser {
    client: Client,
    base: Url,
    cookie: Option<String>,
}

/// What a person sees before they decide.
pub struct Page {
    path: String,
    csrf: String,
    call_hash: String,
}

impl Browser {
    /// Opens a browser; redirects are followed by hand, to see them.
    ///
    /// # Errors
    /// `base` is no address.
    pub fn open(base: &str) -> Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(WITHIN)
            .build()
            .context("no HTTP client")?;
        Ok(Self { client, base: Url::parse(base)?, cookie: None })
    }

    /// Fills in the sign-in form.
    ///
    /// # Errors
    /// The server did not begin a session.
    pub async fn sign_in(&mut self, name: &str, password: &str) -> Result<()> {
        let answer =
            self.submit("/login", &[("name", name), ("password", password), ("next", "/")]).await?;
        if answer.status() != StatusCode::SEE_OTHER {
            bail!("signing in was answered {}", answer.status());
        }
        let cookie = answer.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        self.cookie = Some(cookie.context("signing in gave no session")?.to_owned());
        Ok(())
    }

    /// Reads the page of an action.
    ///
    /// # Errors
    /// It is not there, or cannot be decided by this visitor.
    pub async fn read(&self, link: &str) -> Result<Page> {
        let path = Url::parse(link)?.path().to_owned();
        let html = self.get(&path).await?;
        let field = |name: &str| -> Result<String> {
            let pattern = Regex::new(&format!("name=\"{name}\" value=\"([^\"]+)\""))?;
            let found = pattern.captures(&html).map(|found| found[1].to_owned());
            found.ok_or_else(|| anyhow!("the page {path} has no field {name}"))
        };
        Ok(Page { csrf: field("csrf")?, call_hash: field("call_hash")?, path: path.clone() })
    }

    /// Presses the button that approves.
    ///
    /// # Errors
    /// The server did not take the decision.
    pub async fn approve(&self, page: &Page, comment: &str) -> Result<()> {
        let fields = [("csrf", &*page.csrf), ("call_hash", &*page.call_hash), ("comment", comment)];
        let answer = self.submit(&format!("{}?approved=true", page.path), &fields).await?;
        let status = answer.status();
        if status == StatusCode::SEE_OTHER && answer.headers().contains_key(LOCATION) {
            return Ok(());
        }
        bail!("the approval was answered {status}: {}", answer.text().await.unwrap_or_default());
    }

    /// Gets a page.
    ///
    /// # Errors
    /// Anything but a page came back.
    pub async fn get(&self, path: &str) -> Result<String> {
        let mut request = self.client.get(self.base.join(path)?);
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let answer = request.send().await.with_context(|| format!("cannot get {path}"))?;
        if answer.status() != StatusCode::OK {
            bail!("{path} was answered {}", answer.status());
        }
        Ok(answer.text().await?)
    }

    async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Result<reqwest::Response> {
        let mut encoder = self.base.clone();
        encoder.query_pairs_mut().clear().extend_pairs(fields);
        let mut request = self
            .client
            .post(self.base.join(path)?)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(encoder.query().unwrap_or_default().to_owned());
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        request.send().await.with_context(|| format!("cannot post to {path}"))
    }
}
