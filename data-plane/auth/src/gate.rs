//! The order of checks before a request's body is read (docs/contract.md 2.1 and 4).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use realtime_proto::app::Algorithm;
use realtime_proto::{AddressList, ApiError};

use crate::cache::{Key, TokenCache};
use crate::jwks::JwksCache;
use crate::keys::VerifyingKey;
use crate::operators::sha256;
use crate::pool::{Pool, PoolError};
use crate::refusal::Refusal;
use crate::token::{Compact, MAX_TOKEN_BYTES};
use crate::verifier::{Role, Sha256};
use crate::{App, Caller, Identity, OperatorTokens};

/// Sizes of the verification pool and the token cache.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// Threads that verify asymmetric signatures; at least one runs.
    pub verifier_threads: usize,
    /// Verifications that may wait, over all apps; each app may hold at most half.
    pub verifier_queue: usize,
    /// Verified tokens of usual size remembered until they expire, fewer where permission lists are long; zero: none.
    pub token_cache: usize,
}

/// Checks addresses and tokens. Cheap to clone by `Arc`; owns the verification threads and ends them on drop.
#[derive(Debug)]
pub struct Gate {
    operators: RwLock<Arc<OperatorTokens>>,
    jwks: JwksCache,
    cache: TokenCache,
    pool: Pool,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    cached: AtomicU64,
    verified: AtomicU64,
    rejected: AtomicU64,
    queue_full: AtomicU64,
}

/// What a gate has done since its start, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateStats {
    /// Tokens admitted from memory.
    pub cached: u64,
    /// Tokens admitted after a signature check.
    pub verified: u64,
    /// Signatures that did not verify.
    pub rejected: u64,
    /// Callers sent away because the queue was full.
    pub queue_full: u64,
    /// Verifications that wait now.
    pub waiting: u64,
}

/// A token within its size, with its hash.
struct Bearer<'a> {
    text: &'a str,
    digest: Sha256,
}

impl<'a> Bearer<'a> {
    fn new(token: Option<&'a str>) -> Result<Self, Refusal> {
        let text = token.filter(|token| !token.is_empty()).ok_or(Refusal::Missing)?;
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLarge);
        }
        Ok(Self { text, digest: sha256(text) })
    }
}

impl Gate {
    /// Starts the verification threads. Key sets are not fetched, see [`Self::with_jwks`].
    ///
    /// # Panics
    /// When the operating system gives no thread.
    #[must_use]
    pub fn new(config: GateConfig, operators: OperatorTokens) -> Self {
        Self {
            operators: RwLock::new(Arc::new(operators)),
            jwks: JwksCache::offline(),
            cache: TokenCache::new(config.token_cache),
            pool: Pool::start(config.verifier_threads, config.verifier_queue),
            counters: Counters::default(),
        }
    }

    /// With the process's key sets.
    #[must_use]
    pub fn with_jwks(self, jwks: JwksCache) -> Self {
        Self { jwks, ..self }
    }

    /// The key sets that applications which pass this gate are compiled with.
    #[must_use]
    pub fn jwks(&self) -> &JwksCache {
        &self.jwks
    }

    /// Replaces the operator tokens, as after a change of their file. Callers from now on meet the new ones.
    pub fn set_operators(&self, operators: OperatorTokens) {
        *self.operators.write() = Arc::new(operators);
    }

    /// What the gate has done so far.
    #[must_use]
    pub fn stats(&self) -> GateStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GateStats {
            cached: read(&self.counters.cached),
            verified: read(&self.counters.verified),
            rejected: read(&self.counters.rejected),
            queue_full: read(&self.counters.queue_full),
            waiting: self.pool.waiting() as u64,
        }
    }

    /// A WebSocket client: `clientSourceAddress` (403), then the token against `authKey` (401; pool full: 503
    /// with a time to wait). `now` is Unix seconds. `token` is the bare JWT. The subject is checked too.
    ///
    /// # Errors
    /// The refusal for the caller.
    pub async fn admit_client(
        &self,
        app: &Arc<App>,
        address: IpAddr,
        token: Option<&str>,
        now: u64,
    ) -> Result<Arc<Identity>, ApiError> {
        check_address(&app.config.client_source_address, address)?;
        let bearer = Bearer::new(token)?;
        Ok(self.identify(app, Role::Client, &bearer, now).await?)
    }

    /// A caller of an app's API: an operator token passes at once; else `adminSourceAddress` (403), then the
    /// token against `adminKey` (401).
    ///
    /// # Errors
    /// The refusal for the caller.
    pub async fn admit_admin(
        &self,
        app: &Arc<App>,
        address: IpAddr,
        token: Option<&str>,
        now: u64,
    ) -> Result<Caller, ApiError> {
        let bearer = Bearer::new(token);
        if let Ok(bearer) = &bearer
            && let Some(name) = self.operator(&bearer.digest)
        {
            return Ok(Caller::Operator { name });
        }
        check_address(&app.config.admin_source_address, address)?;
        let identity = self.identify(app, Role::Admin, &bearer?, now).await?;
        Ok(Caller::App { app_id: app.config.app_id.clone(), identity })
    }

    /// A caller of an operator-only API.
    ///
    /// # Errors
    /// 401 without a valid operator token.
    pub fn admit_operator(&self, token: Option<&str>) -> Result<Caller, ApiError> {
        let bearer = Bearer::new(token)?;
        let name = self.operator(&bearer.digest).ok_or(Refusal::NotOperator)?;
        Ok(Caller::Operator { name })
    }

    fn operator(&self, digest: &Sha256) -> Option<Arc<str>> {
        let operators = Arc::clone(&self.operators.read());
        operators.verify_digest(digest)
    }

    /// Who the token names: from memory, or after every check.
    async fn identify(
        &self,
        app: &App,
        role: Role,
        bearer: &Bearer<'_>,
        now: u64,
    ) -> Result<Arc<Identity>, Refusal> {
        let verifier = app.verifier(role);
        let generation = verifier.keys().generation();
        let key = Key { verifier: *verifier.fingerprint(), generation, token: bearer.digest };
        if let Some(identity) = self.cache.get(&key, now) {
            self.counters.cached.fetch_add(1, Ordering::Relaxed);
            return Ok(identity);
        }
        let token = Compact::parse(bearer.text)?;
        let (algorithm, claims) = verifier.examine(&token, now)?;
        let keys = verifier.keys().find(algorithm, token.header.kid.as_deref()).await?;
        if keys.is_empty() {
            return Err(Refusal::NoKey);
        }
        self.check_signature(app, algorithm, keys, token).await?;
        let identity = Arc::new(verifier.identity(&claims, app.permission_sets())?);
        self.cache.insert(key, Arc::clone(&identity));
        Ok(identity)
    }

    /// HMACs (4 µs) on this thread, the rest (25 to 700 µs) on the pool's.
    async fn check_signature(
        &self,
        app: &App,
        algorithm: Algorithm,
        keys: Arc<[VerifyingKey]>,
        token: Compact<'_>,
    ) -> Result<(), Refusal> {
        let ok = if algorithm.is_hmac() {
            any_verifies(&keys, token.signed, &token.signature)
        } else {
            let (signed, signature) = (token.signed.to_vec(), token.signature);
            let work = move || any_verifies(&keys, &signed, &signature);
            self.pool.run(&app.config.app_id, work).await.map_err(|error| {
                if error == PoolError::Full {
                    self.counters.queue_full.fetch_add(1, Ordering::Relaxed);
                }
                Refusal::Busy
            })?
        };
        let counter = if ok { &self.counters.verified } else { &self.counters.rejected };
        counter.fetch_add(1, Ordering::Relaxed);
        if ok { Ok(()) } else { Err(Refusal::Signature) }
    }
}

fn any_verifies(keys: &[VerifyingKey], signed: &[u8], signature: &[u8]) -> bool {
    keys.iter().any(|key| key.verifies(signed, signature))
}

fn check_address(list: &AddressList, address: IpAddr) -> Result<(), Refusal> {
    if list.allows(address) { Ok(()) } else { Err(Refusal::Address) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use realtime_proto::{AppConfig, AppId, ErrorCode};
    use serde_json::json;

    use super::*;
    use crate::issue;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn app(id: &str, public_pem: &str) -> Arc<App> {
        let key = json!({"source": "raw", "key": public_pem, "algorithms": ["ES256"], "issuer": []});
        let document = json!({"appId": id, "name": id, "authKey": key, "adminKey": key});
        let config = AppConfig::create(&document, "2027-01-15T08:00:00.000Z").unwrap();
        Arc::new(App::compile(config, 1, &JwksCache::offline()).unwrap())
    }

    #[tokio::test]
    async fn an_application_that_fills_its_half_of_the_queue_waits_and_others_get_in() {
        let pair = issue::generate(Algorithm::ES256);
        let token = issue::sign(Algorithm::ES256, &pair.private_pem, "{}", None).unwrap();
        let (flooded, quiet) = (app("flooded", &pair.public_pem), app("quiet", &pair.public_pem));
        let config = GateConfig { verifier_threads: 1, verifier_queue: 4, token_cache: 0 };
        let gate = Gate::new(config, OperatorTokens::default());
        let admit = |app| gate.admit_client(app, ADDRESS, Some(&token), 0);

        let (release, released) = mpsc::channel::<()>();
        let (started, starts) = mpsc::channel();
        let blocker = AppId::parse("blocker").unwrap();
        let mut blocked = pin!(gate.pool.run(&blocker, move || {
            started.send(()).unwrap();
            let _ = released.recv();
        }));
        let mut context = Context::from_waker(Waker::noop());
        assert!(blocked.as_mut().poll(&mut context).is_pending());
        starts.recv().unwrap();

        let (mut first, mut second) = (pin!(admit(&flooded)), pin!(admit(&flooded)));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(Err(refused)) = pin!(admit(&flooded)).poll(&mut context) else {
            panic!("a third one fits")
        };
        assert_eq!((refused.code, refused.retry_after), (ErrorCode::Unavailable, Some(1)));
        let mut other = pin!(admit(&quiet));
        assert!(other.as_mut().poll(&mut context).is_pending());
        let stats = gate.stats();
        assert_eq!((stats.queue_full, stats.waiting), (1, 3));

        drop(release);
        for admitted in [first.await, second.await, other.await] {
            assert!(admitted.is_ok());
        }
        assert_eq!(gate.stats().verified, 3);
    }
}
