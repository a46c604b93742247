//! One order (RFC 8555 §7.4): account, authorizations, challenges, certificate.

use std::fmt;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use tokio::task::spawn_blocking;

use super::cache::{Cache, Issued};
use super::client::Web;
use super::shown::Shown;
use crate::config::Acme as Settings;

/// Why there is no new certificate.
#[derive(Debug)]
pub enum Failure {
    /// The authority said no, or something strange, or nothing.
    Authority(Error),
    /// There is nothing to ask with: why, in a sentence.
    NoClient(String),
    /// It does not take the one kind of proof there is.
    NoChallenge,
    /// It did not find the proof, or did not believe it.
    NotProven,
    /// No proof could be made.
    NoProof,
    /// What was issued cannot be used.
    Unusable,
    /// Too much time passed.
    TooSlow,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Authority(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(error) => {
                write!(f, "{error}")?;
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::NoClient(error) => write!(f, "the authority cannot be asked: {error}"),
            Self::NoChallenge => f.write_str("the authority does not offer tls-alpn-01"),
            Self::NotProven => f.write_str(
                "the authority did not reach this server: port 443 of every domain must lead \
                 to tls_listen",
            ),
            Self::NoProof => f.write_str("no proof of a domain could be made"),
            Self::Unusable => f.write_str("certificate and key cannot be used"),
            Self::TooSlow => f.write_str("the authority takes too long"),
        }
    }
}

/// Orders a certificate. The domains are proven by `shown` meanwhile.
///
/// # Errors
/// What went wrong first.
pub async fn order(settings: &Settings, cache: &Cache, shown: &Shown) -> Result<Issued, Failure> {
    let account = account(settings, cache).await?;
    let names = settings.domains.iter().cloned();
    let identifiers: Vec<_> = names.map(Identifier::Dns).collect();
    let order = account.new_order(&NewOrder::new(&identifiers)).await;
    if let Err(Error::Api(problem)) = &order
        && problem.r#type.as_deref() == Some(UNKNOWN_ACCOUNT)
    {
        // The next try makes another one.
        let cache = cache.clone();
        let _ = spawn_blocking(move || cache.forget_account()).await;
    }
    let mut order = order?;
    let proven = prove(&mut order, shown).await;
    shown.stop_proving();
    proven?;
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok(Issued {
        directory_url: settings.directory_url.clone(),
        domains: settings.domains.clone(),
        chain,
        key,
    })
}

/// The account that is kept, or a new one.
async fn account(settings: &Settings, cache: &Cache) -> Result<Account, Failure> {
    let url = settings.directory_url.clone();
    let (reader, asked) = (cache.clone(), url.clone());
    let kept = spawn_blocking(move || reader.account(&asked)).await;
    let roots = settings.directory_ca.clone();
    let web = spawn_blocking(move || Web::new(roots.as_deref())).await;
    let web = web
        .map_err(|_| Failure::TooSlow)?
        .map_err(Failure::NoClient)?;
    let builder = Account::builder_with_http(Box::new(web));
    if let Ok(Some(credentials)) = kept {
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact = settings
        .contact
        .as_ref()
        .map(|mail| format!("mailto:{mail}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (account, credentials) = builder.create(&wanted, url.clone(), None).await?;
    let writer = cache.clone();
    let kept = spawn_blocking(move || writer.keep_account(&url, credentials)).await;
    if !matches!(kept, Ok(Ok(()))) {
        tracing::warn!(?kept, "the account at the authority cannot be kept");
    }
    Ok(account)
}

/// Has the authority look at every domain that it does not know to be ours.
async fn prove(order: &mut Order, shown: &Shown) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or(Failure::NoChallenge)?;
        let digest = challenge.key_authorization().digest();
        shown.prove(&domain, digest.as_ref())?;
        challenge.set_ready().await?;
    }
    match order.poll_ready(&PATIENCE).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(refusal(order).await),
        Err(error) => Err(error.into()),
    }
}

/// What the authority says of the first domain that it did not find to be ours.
async fn refusal(order: &mut Order) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            let problems = state.challenges.iter().filter_map(|c| c.error.clone());
            if let Some(problem) = problems.into_iter().next() {
                return Failure::Authority(Error::Api(problem));
            }
        }
    }
    Failure::NotProven
}

/// How long the authority is asked whether it is done.
const PATIENCE: RetryPolicy = RetryPolicy::new().timeout(std::time::Duration::from_secs(120));

/// RFC 8555 §6.7.
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
