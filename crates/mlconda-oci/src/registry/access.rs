//! What a registry wants before it answers: a token of the service that it names (Bearer), or the login itself (Basic).
//!
//! A token is asked for once for a repository, and again when the registry does not take it any more. An identity token
//! is exchanged by OAuth 2; other logins are sent to the token service, which may be another host, but over `https://`
//! where the registry is asked over that.

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

/// The limit for an answer of a token service, in bytes.
const LARGEST_TOKEN: u64 = 1 << 20;

impl Repository {
    /// Asks for tokens that allow pushing here, and mounting from other repositories.
    pub(super) fn for_push(&self, mounts: &[String]) -> Self {
        let own = format!("repository:{}:pull,push", self.name.repository);
        let others = mounts.iter().map(|name| format!("repository:{name}:pull"));
        Self { scopes: std::iter::once(own).chain(others).collect::<Vec<_>>().into(), ..self.clone() }
    }

    /// What a token is asked for.
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

    /// What to send to a URL: a token that is known, if the URL is one of the registry.
    pub(crate) async fn authorization(&self, url: &Url) -> Option<String> {
        if !self.is_own(url) {
            return None;
        }
        self.token_slot().await.lock().await.clone()
    }

    /// Forgets a token that is not taken any more.
    pub(super) async fn forget_token(&self) {
        *self.token_slot().await.lock().await = None;
    }

    /// The place of the token of this repository. It is locked while the token is asked for: one request asks, others
    /// of the same repository wait for the answer.
    async fn token_slot(&self) -> Arc<Mutex<Option<String>>> {
        Arc::clone(self.shared.tokens.lock().await.entry(self.key()).or_default())
    }

    /// Takes the login of a URL instead of a stored one. Other repositories do not get it, and neither do other values
    /// of this one.
    pub(crate) fn with_login(self, user: String, password: String) -> Self {
        Self { login: Some(Login::Password(user, password)), ..self }
    }

    /// Answers the challenge of a 401. `refused` is what was sent. `None` if there is nothing more to send.
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

    /// Asks the token service of a challenge.
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
            // A body in pieces cannot be sent again: a redirect does not take the token to another host.
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

    /// The login that is sent, in words.
    fn whose(&self) -> &'static str {
        if self.login.is_some() { "the login of the URL" } else { "the stored login" }
    }

    /// Why the registry refuses, in words.
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

/// A query or a form.
fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Why a registry refuses, in words.
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
