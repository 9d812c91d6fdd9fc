//! Authenticates at a registry: with a token of the service that the registry names (Bearer), or with the login itself
//! (Basic).
//!
//! One token is requested for each repository, and a new one if the registry does not accept it any more. An identity
//! token is exchanged by OAuth 2. Other logins are sent to the token service, which may be on another host. The service
//! must use `https://` if the registry does.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use mlconda_channel::network::{
    BodyKind, Transfer, check_scheme,
    send::{Body, Method, Outgoing, pieces},
};
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use super::{Repository, TokenKey};
use crate::{
    OciError,
    challenge::Challenge,
    json,
    logins::{Found, Login},
};

/// The largest answer of a token service, in bytes.
const LARGEST_TOKEN: u64 = 1 << 20;

impl Repository {
    /// The same repository, with tokens that allow pushing to it, and mounting from other repositories.
    pub(super) fn for_push(&self, mounts: &[String]) -> Self {
        let own = format!("repository:{}:pull,push", self.name.repository);
        let others = mounts.iter().map(|name| format!("repository:{name}:pull"));
        Self { scopes: std::iter::once(own).chain(others).collect::<Vec<_>>().into(), ..self.clone() }
    }

    /// The scopes to request for a token.
    fn scopes(&self) -> Vec<String> {
        if self.scopes.is_empty() {
            vec![format!("repository:{}:pull", self.name.repository)]
        } else {
            self.scopes.to_vec()
        }
    }

    fn key(&self) -> TokenKey {
        (format!("{} {}", self.name.registry, self.scopes().join(" ")), self.login.clone())
    }

    /// The value of `Authorization` for a URL: a known token, if the URL is in the registry itself.
    pub(crate) async fn authorization(&self, url: &Url) -> Option<String> {
        if !self.is_own(url) {
            return None;
        }
        self.token_slot().await.lock().await.clone()
    }

    /// Forgets the token, which is not accepted any more.
    pub(super) async fn forget_token(&self) {
        *self.token_slot().await.lock().await = None;
    }

    /// The slot of this repository's token. It is locked while a token is requested, so only one request asks for it,
    /// and the other requests of the repository wait.
    async fn token_slot(&self) -> Arc<Mutex<Option<String>>> {
        Arc::clone(self.shared.tokens.lock().await.entry(self.key()).or_default())
    }

    /// The same repository, with the login of a URL instead of a stored one. Other repositories and other values of
    /// this one do not get this login.
    pub(crate) fn with_login(self, user: String, password: String) -> Self {
        Self { login: Some(Login::Password(user, password)), ..self }
    }

    /// Answers the challenge of a status 401. `refused` is the value that was sent. `None` if there is nothing else to
    /// send.
    pub(super) async fn authorize(
        &self,
        transfer: &Transfer,
        refused: Option<&str>,
        what: &str,
    ) -> Result<Option<String>, OciError> {
        let challenges: Vec<Challenge> = transfer.headers(WWW_AUTHENTICATE).flat_map(Challenge::parse).collect();
        let slot = self.token_slot().await;
        let mut token = slot.lock().await;
        if let Some(known) = token.as_ref().filter(|known| Some(known.as_str()) != refused) {
            return Ok(Some(known.clone()));
        }
        let found = self.find_login().await?;
        let bearer = challenges.iter().find(|challenge| challenge.scheme == "bearer");
        let has_basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
        let authorization = match (bearer, &found.login) {
            (_, Some(Login::Registry(token))) => Some(format!("Bearer {token}")),
            (Some(bearer), login) => Some(format!("Bearer {}", self.token(bearer, login.as_ref(), what).await?)),
            (None, Some(Login::Password(user, password))) if has_basic => Some(basic(user, password)),
            _ => None,
        };
        let authorization = authorization.filter(|authorization| Some(authorization.as_str()) != refused);
        if authorization.is_some() {
            token.clone_from(&authorization);
        }
        Ok(authorization)
    }

    async fn find_login(&self) -> Result<Found, OciError> {
        if self.login.is_some() {
            return Ok(Found { login: self.login.clone(), trouble: None });
        }
        let mut logins = self.shared.logins.lock().await;
        if let Some(found) = logins.get(&self.name.to_string()) {
            return Ok(found.clone());
        }
        let found = self.shared.options.logins.find(&self.name, &self.shared.helpers).await?;
        logins.insert(self.name.to_string(), found.clone());
        Ok(found)
    }

    /// Requests a token from the service in a challenge.
    async fn token(&self, challenge: &Challenge, login: Option<&Login>, what: &str) -> Result<String, OciError> {
        let invalid = |reason: String| OciError::invalid(format!("what `{}` asks for", self.name.registry), reason);
        let realm = challenge.parameter("realm").unwrap_or_default();
        let mut url =
            self.url.join(realm).map_err(|error| invalid(format!("its token service is no URL ({error})")))?;
        check_scheme(&self.url, &url).map_err(|error| invalid(error.to_string()))?;
        let scopes = self.scopes();
        let mut query: Vec<(&str, &str)> = Vec::new();
        query.extend(challenge.parameter("service").map(|service| ("service", service)));
        let transfer = if let Some(Login::Identity(token)) = login {
            let scopes = scopes.join(" ");
            query.extend([("client_id", "mlconda"), ("grant_type", "refresh_token")]);
            query.extend([("scope", scopes.as_str()), ("refresh_token", token)]);
            let headers = [(CONTENT_TYPE, "application/x-www-form-urlencoded")];
            // A body that is sent in pieces cannot be sent again, so a redirect cannot move the token to another host.
            let form = encoded(&query).into_bytes();
            let (sender, body) = pieces(form.len() as u64);
            sender.send(form).await;
            drop(sender);
            self.ask_service(Method::POST, &url, &headers, None, body).await
        } else {
            query.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
            let authorization = match login {
                Some(Login::Password(user, password)) => {
                    query.push(("account", user));
                    Some(basic(user, password))
                }
                _ => None,
            };
            let given = url.query().map(|given| format!("{given}&")).unwrap_or_default();
            url.set_query(Some(&(given + &encoded(&query))));
            self.ask_service(Method::GET, &url, &[], authorization.as_deref(), Body::Empty).await
        };
        let transfer = transfer.map_err(OciError::network("the token service of the registry"))?;
        let status = transfer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) {
            let reason = reason(login.map(|_| self.whose()), None, &super::said(transfer).await);
            return Err(OciError::Denied { registry: self.name.registry.clone(), what: what.to_owned(), reason });
        }
        if !status.is_success() {
            let said = super::said(transfer).await;
            return Err(OciError::Refused { what: "a token".to_owned(), status, wait: None, said });
        }
        let bytes = transfer.bytes().await.map_err(OciError::network("the token service of the registry"))?;
        let answer = json::parse_object(&bytes, "the answer of the token service")?;
        let token = json::text(&answer, "token").or_else(|| json::text(&answer, "access_token"));
        token.filter(|token| !token.is_empty()).ok_or_else(|| invalid("its token service gives no token".to_owned()))
    }

    async fn ask_service(
        &self,
        method: Method,
        url: &Url,
        headers: &[(reqwest::header::HeaderName, &str)],
        authorization: Option<&str>,
        body: Body,
    ) -> Result<Transfer, mlconda_channel::network::NetworkError> {
        let answer = BodyKind::Metadata(LARGEST_TOKEN);
        self.shared.client.send(Outgoing { method, url, headers, authorization, body, answer }).await
    }

    /// A description of the login that is sent.
    fn whose(&self) -> &'static str {
        if self.login.is_some() { "the login of the URL" } else { "the stored login" }
    }

    /// Why the registry refuses, for messages.
    pub(super) async fn denial(&self, said: &str) -> String {
        if self.login.is_some() {
            return reason(Some(self.whose()), None, said);
        }
        let logins = self.shared.logins.lock().await;
        let found = logins.get(&self.name.to_string());
        let trouble = found.and_then(|found| found.trouble.as_deref());
        let login = found.and_then(|found| found.login.as_ref());
        reason(login.map(|_| self.whose()), trouble, said)
    }
}

/// Encodes a query or a form.
fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Why a registry refuses, for messages.
fn reason(login: Option<&str>, trouble: Option<&str>, said: &str) -> String {
    let mut reason = match (login, trouble) {
        (Some(login), _) => format!("{login} does not allow it"),
        (None, Some(trouble)) => format!("there is no login for it, for {trouble}"),
        (None, None) => "no login for it is stored".to_owned(),
    };
    if !said.is_empty() {
        reason.push_str(&format!(" (it says: {said})"));
    }
    reason
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}
