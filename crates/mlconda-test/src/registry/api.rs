//! The registry's API: the routes of the OCI distribution spec, and the token service.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Access, RegistryRequest, Shared, connection::Answer, digest};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Answers a request.
pub(super) fn answer(shared: &Shared, request: &RegistryRequest, body: Vec<u8>) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let query = parameters(query);
    if path == "/token" {
        return token(shared, request, &query, &body);
    }
    let Some(rest) = path.strip_prefix("/v2/") else { return Answer::error(404) };
    let Some((repository, what, id)) = split(rest) else {
        return if rest.is_empty() && allows(shared, request, "", "pull") {
            Answer::new(200)
        } else {
            challenge(shared, rest)
        };
    };
    let action = if ["GET", "HEAD"].contains(&request.method.as_str()) && what != "uploads" { "pull" } else { "push" };
    if !allows(shared, request, repository, action) {
        return challenge(shared, repository);
    }
    match what {
        "manifests" => manifest(shared, request, (repository, id), body),
        "blobs" => blob(shared, request, (repository, id)),
        "uploads" => upload(shared, request, (repository, id), (&query, body)),
        "referrers" if shared.options.has_referrers => referrers(shared, repository, id, &query),
        _ => Answer::error(404),
    }
}

/// Splits a path below `/v2/`: the repository, the kind of resource, and its name.
fn split(path: &str) -> Option<(&str, &'static str, &str)> {
    for (part, what) in [
        ("/manifests/", "manifests"),
        ("/blobs/uploads/", "uploads"),
        ("/blobs/", "blobs"),
        ("/referrers/", "referrers"),
    ] {
        if let Some((repository, id)) = path.split_once(part) {
            return Some((repository, what, id));
        }
    }
    None
}

fn manifest(shared: &Shared, request: &RegistryRequest, (repository, id): (&str, &str), body: Vec<u8>) -> Answer {
    let mut state = shared.state();
    if request.method == "PUT" {
        let kind = request.headers.get("content-type").cloned().unwrap_or_default();
        let document: Value = serde_json::from_slice(&body).unwrap_or_default();
        let has = |entry: &Value| {
            let named = (repository.to_owned(), entry["digest"].as_str().unwrap_or_default().to_owned());
            state.blobs.contains_key(&named) || state.manifests.contains_key(&named)
        };
        let named = document["layers"].as_array().into_iter().chain(document["manifests"].as_array()).flatten();
        // A manifest is rejected if one of its blobs is missing.
        if !named.chain(document.get("config")).all(has) {
            return Answer::error(400);
        }
        let digest = digest(&body);
        state.manifests.insert((repository.to_owned(), digest.clone()), (kind, body));
        if !id.contains(':') {
            state.tags.insert((repository.to_owned(), id.to_owned()), digest.clone());
        }
        let answer = Answer::new(201).header("Docker-Content-Digest", digest);
        return match document["subject"]["digest"].as_str() {
            Some(subject) if shared.options.has_referrers => answer.header("OCI-Subject", subject),
            _ => answer,
        };
    }
    match state.manifest(repository, id) {
        Some((kind, bytes)) => Answer { body: bytes.clone(), ..Answer::new(200) }
            .header("Content-Type", kind)
            .header("Docker-Content-Digest", digest(bytes)),
        None => Answer::error(404),
    }
}

fn blob(shared: &Shared, request: &RegistryRequest, (repository, id): (&str, &str)) -> Answer {
    let state = shared.state();
    let Some(bytes) = state.blobs.get(&(repository.to_owned(), id.to_owned())) else { return Answer::error(404) };
    let range =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match range {
        Some(from) if from < bytes.len() => Answer { body: bytes[from..].to_vec(), ..Answer::new(206) }
            .header("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
        _ => Answer { body: bytes.clone(), ..Answer::new(200) },
    }
}

fn upload(
    shared: &Shared,
    request: &RegistryRequest,
    (repository, id): (&str, &str),
    (query, body): (&BTreeMap<String, String>, Vec<u8>),
) -> Answer {
    let mut state = shared.state();
    let location = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}?state=secret-{id}");
    if request.method == "POST" {
        if let (Some(digest), Some(from), false) =
            (query.get("mount"), query.get("from"), shared.options.refuses_mounts)
        {
            let source = (from.clone(), digest.clone());
            if let Some(bytes) = state.blobs.get(&source).cloned() {
                state.blobs.insert((repository.to_owned(), digest.clone()), bytes);
                return Answer::new(201).header("Location", format!("/v2/{repository}/blobs/{digest}"));
            }
        }
        state.next += 1;
        let id = state.next.to_string();
        state.uploads.insert(id.clone(), Vec::new());
        return Answer::new(202).header("Location", location(&id)).header("Range", "0-0");
    }
    let Some(upload) = state.uploads.get_mut(id) else { return Answer::error(404) };
    let begin = request.headers.get("content-range").and_then(|range| range.split('-').next()?.parse::<usize>().ok());
    if begin.is_some_and(|begin| begin != upload.len()) {
        return Answer::error(416);
    }
    upload.extend(body);
    let last = upload.len().saturating_sub(1);
    match request.method.as_str() {
        "PUT" => {
            let bytes = state.uploads.remove(id).unwrap_or_default();
            let name = digest(&bytes);
            if query.get("digest") != Some(&name) {
                return Answer::error(400);
            }
            state.blobs.insert((repository.to_owned(), name), bytes);
            Answer::new(201)
        }
        "PATCH" => Answer::new(202).header("Location", location(id)).header("Range", format!("0-{last}")),
        "GET" => Answer::new(204).header("Location", location(id)).header("Range", format!("0-{last}")),
        _ => Answer::error(405),
    }
}

/// Stores the received bytes of an upload that broke off.
pub(super) fn keep(shared: &Shared, request: &RegistryRequest, body: &[u8]) {
    let path = request.path.split('?').next().unwrap_or_default();
    if let Some((_, id)) = path.split_once("/blobs/uploads/")
        && let Some(upload) = shared.state().uploads.get_mut(id)
    {
        upload.extend(body);
    }
}

/// Moves the tag `latest` of a request's repository to another manifest.
pub(super) fn move_tag(shared: &Shared, request: &RegistryRequest, manifest: &[u8]) {
    let Some((repository, ..)) = request.path.strip_prefix("/v2/").and_then(split) else { return };
    let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let kind = document["mediaType"].as_str().unwrap_or_default().to_owned();
    let mut state = shared.state();
    state.manifests.insert((repository.to_owned(), digest(manifest)), (kind, manifest.to_vec()));
    state.tags.insert((repository.to_owned(), "latest".to_owned()), digest(manifest));
}

fn referrers(shared: &Shared, repository: &str, subject: &str, query: &BTreeMap<String, String>) -> Answer {
    let state = shared.state();
    let entry = |((of, digest), (kind, bytes)): (&(String, String), &(String, Vec<u8>))| {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        (of == repository && document["subject"]["digest"] == subject).then(|| {
            json!({"mediaType": kind, "digest": digest, "size": bytes.len(), "artifactType": document["artifactType"]})
        })
    };
    let entries: Vec<Value> = state.manifests.iter().filter_map(entry).collect();
    let first = query.get("first").and_then(|first| first.parse().ok()).unwrap_or(0);
    let most = shared.options.referrers_on_a_page.unwrap_or(usize::MAX);
    let page: Vec<&Value> = entries.iter().skip(first).take(most).collect();
    let next = first + page.len();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": page});
    let answer = Answer { body: index.to_string().into_bytes(), ..Answer::new(200) }.header("Content-Type", INDEX);
    match next < entries.len() {
        true => answer.header("Link", format!("</v2/{repository}/referrers/{subject}?first={next}>; rel=\"next\"")),
        false => answer,
    }
}

/// Whether a request may perform an action on a repository.
fn allows(shared: &Shared, request: &RegistryRequest, repository: &str, action: &str) -> bool {
    let sent = request.headers.get("authorization").map(String::as_str);
    // Uploads on another host are authorized by their URL.
    if request.headers.get("host").is_some_and(|host| *host != shared.address.to_string()) {
        return true;
    }
    match &shared.options.access {
        Access::Open => true,
        Access::Basic(user, password) => sent == Some(&basic(user, password)),
        Access::Token(..) | Access::Identity(_) => {
            let state = shared.state();
            let Some(scopes) = sent.and_then(|sent| state.tokens.get(sent.strip_prefix("Bearer ")?)) else {
                return false;
            };
            let is_it = |scope: &str| {
                let actions = scope.strip_prefix(&format!("repository:{repository}:"));
                actions.is_some_and(|actions| actions.split(',').any(|each| each == action))
            };
            repository.is_empty() || scopes.split(' ').any(is_it)
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn challenge(shared: &Shared, repository: &str) -> Answer {
    let challenge = match shared.options.access {
        Access::Open | Access::Basic(..) => "Basic realm=\"test\"".to_owned(),
        _ => {
            let realm = format!("http://{}/token", shared.address);
            format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:{repository}:pull\"")
        }
    };
    Answer::error(401).header("WWW-Authenticate", challenge)
}

/// The token service: everybody may pull, only users with a login may push.
fn token(shared: &Shared, request: &RegistryRequest, query: &BTreeMap<String, String>, body: &[u8]) -> Answer {
    let form = parameters(&String::from_utf8_lossy(body));
    let sent = request.headers.get("authorization").map(String::as_str);
    let is_user = match &shared.options.access {
        Access::Token(user, password) => sent == Some(&basic(user, password)),
        Access::Identity(token) => request.method == "POST" && form.get("refresh_token") == Some(token),
        _ => return Answer::error(404),
    };
    if !is_user && (shared.options.is_private || sent.is_some() || request.method == "POST") {
        return Answer::error(401);
    }
    let asked = form.get("scope").or_else(|| query.get("scope")).cloned().unwrap_or_default();
    let allowed = |scope: &str| if is_user { scope.to_owned() } else { scope.replace("pull,push", "pull") };
    let allowed: Vec<String> = asked.split(' ').map(allowed).collect();
    let mut state = shared.state();
    state.next += 1;
    let token = format!("secret-token-{}", state.next);
    state.tokens.insert(token.clone(), allowed.join(" "));
    let key = if request.method == "POST" { "access_token" } else { "token" };
    Answer { body: json!({ key: token, "expires_in": 60 }).to_string().into_bytes(), ..Answer::new(200) }
}

/// The parameters of a query or a form. The values of a repeated parameter are joined by spaces.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        let entry = all.entry(key.to_owned()).or_default();
        if !entry.is_empty() {
            entry.push(' ');
        }
        entry.push_str(&decoded(value));
    }
    all
}

fn decoded(text: &str) -> String {
    let (mut plain, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        let digits = others.get(..2).and_then(|digits| hex::decode(digits).ok());
        match (first, digits) {
            (b'%', Some(bytes)) => {
                plain.extend(bytes);
                rest = &others[2..];
            }
            (b'+', _) => {
                plain.push(b' ');
                rest = others;
            }
            (byte, _) => {
                plain.push(*byte);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
