//! Providers of object stores: what their own variables say, then what the location says.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore};

use crate::crypto::Secret;
use crate::store::bucket::{BucketSettings, Locking};
use crate::store::http;
use crate::store::place::{Address, Place, PlaceError, Provider, is_loopback};

type Opened = (Arc<dyn ObjectStore>, BucketSettings);

fn wrong(place: &Place, error: &object_store::Error) -> PlaceError {
    PlaceError::new(
        format!("cannot use {}: {}", place.location(), http::plain(&error.to_string())),
        "set the provider's variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION; \
         GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY), or name \
         a file with them: `?password-file=FILE`",
    )
}

/// `NAME=VALUE` lines.
fn lines(secret: &Secret) -> Result<Vec<(String, String)>, PlaceError> {
    let refuse = || {
        PlaceError::new(
            "what opens an object store is not made of NAME=VALUE lines",
            "write the provider's variables there, one a line, as AWS_ACCESS_KEY_ID=...",
        )
    };
    let text = std::str::from_utf8(secret.expose()).map_err(|_| refuse())?;
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.split_once('=').ok_or_else(refuse)?;
            let name = name.trim().trim_start_matches("export ").to_ascii_lowercase();
            Ok((name, value.trim().trim_matches(['"', '\'']).to_owned()))
        })
        .collect()
}

pub(super) fn open(
    place: &Place,
    secret: Option<Secret>,
    timeout: Duration,
) -> Result<Opened, PlaceError> {
    let Address::Bucket { provider, endpoint, bucket, prefix } = &place.address else {
        return Err(PlaceError::new("it is no object store", "name another location"));
    };
    let own = &place.options;
    let endpoint = endpoint.clone().or_else(|| own.endpoint.clone()).map(with_scheme);
    let is_http = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = http::client_options(own.ca.as_deref(), timeout, is_http)?;
    // The three providers themselves keep the condition of a create; others are tried out.
    let creates_once = endpoint.is_none().then_some(true);
    let way = Way { place, bucket, endpoint, is_http, client, secret };
    let objects: Arc<dyn ObjectStore> = match provider {
        Provider::S3 => way.s3()?,
        Provider::Google => way.google()?,
        Provider::Azure => way.azure()?,
    };
    let settings = BucketSettings {
        prefix: prefix.clone(),
        storage_class: own.storage_class.clone(),
        connections: own.connections,
        creates_once,
        timeout,
    };
    Ok((objects, settings))
}

/// What leads to a bucket, whoever's it is.
struct Way<'p> {
    place: &'p Place,
    bucket: &'p str,
    endpoint: Option<String>,
    is_http: bool,
    client: ClientOptions,
    secret: Option<Secret>,
}

impl Way<'_> {
    fn lines(&self) -> Result<Vec<(String, String)>, PlaceError> {
        Ok(self.secret.as_ref().map(lines).transpose()?.unwrap_or_default())
    }

    fn s3(self) -> Result<Arc<dyn ObjectStore>, PlaceError> {
        let own = &self.place.options;
        let is_set = |name| std::env::var_os(name).is_some();
        let mut builder = AmazonS3Builder::from_env().with_client_options(self.client.clone());
        if !is_set("AWS_REGION") && !is_set("AWS_DEFAULT_REGION") {
            builder = builder.with_region("us-east-1");
        }
        for (name, value) in self.lines()? {
            let key: AmazonS3ConfigKey = name.parse().map_err(|error| wrong(self.place, &error))?;
            builder = builder.with_config(key, value);
        }
        if let Some(region) = &own.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(self.is_http);
        }
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_default();
        let locking = own.retention.map(|retention| Arc::new(Locking::new(retention, region)));
        let built = builder
            .with_bucket_name(self.bucket)
            .with_virtual_hosted_style_request(own.is_virtual_host)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_checksum_algorithm(Checksum::SHA256)
            // Objects are deleted one by one anyway, and some servers do not know how to do several.
            .with_disable_bulk_delete(true)
            .with_http_connector(http::Lenient { locking: locking.clone() })
            .with_retry(http::no_retries())
            .build()
            .map_err(|error| wrong(self.place, &error))?;
        if let Some(locking) = locking {
            locking.sign_with(built.credentials());
        }
        Ok(Arc::new(built))
    }

    fn google(self) -> Result<Arc<dyn ObjectStore>, PlaceError> {
        let mut builder =
            GoogleCloudStorageBuilder::from_env().with_client_options(self.client.clone());
        if let Some(secret) = &self.secret {
            let text = String::from_utf8_lossy(secret.expose()).into_owned();
            builder = builder.with_service_account_key(text);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        let built = builder
            .with_bucket_name(self.bucket)
            .with_http_connector(http::Lenient { locking: None })
            .with_retry(http::no_retries())
            .build();
        Ok(Arc::new(built.map_err(|error| wrong(self.place, &error))?))
    }

    fn azure(self) -> Result<Arc<dyn ObjectStore>, PlaceError> {
        let mut builder =
            MicrosoftAzureBuilder::from_env().with_client_options(self.client.clone());
        for (name, value) in self.lines()? {
            let key: AzureConfigKey = name.parse().map_err(|error| wrong(self.place, &error))?;
            builder = builder.with_config(key, value);
        }
        if let Some(account) = &self.place.options.account {
            builder = builder.with_account(account);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone()).with_allow_http(self.is_http);
        }
        let built = builder.with_container_name(self.bucket).with_retry(http::no_retries()).build();
        Ok(Arc::new(built.map_err(|error| wrong(self.place, &error))?))
    }
}

/// An endpoint without a scheme is HTTPS, unless it is this machine.
fn with_scheme(endpoint: String) -> String {
    if endpoint.contains("://") {
        return endpoint;
    }
    let host = endpoint.split(':').next().unwrap_or_default();
    let scheme = if is_loopback(host) { "http" } else { "https" };
    format!("{scheme}://{endpoint}")
}
