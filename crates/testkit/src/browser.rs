//! A headless Chromium, driven by its own protocol (CDP) over a pair of named pipes: what a person sees of a page, clicks in
//! it, and is told of errors.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

/// How long a page may take to become what is waited for, in milliseconds.
const PATIENCE_MS: u32 = 60_000;

/// A browser with one page. Ends with the test.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    id: u64,
    session: Option<String>,
    loaded: bool,
    errors: Vec<String>,
    _dir: tempfile::TempDir,
}

impl Browser {
    /// Starts it with an empty page.
    ///
    /// # Panics
    /// Where it cannot be started or does not speak CDP.
    #[must_use]
    pub fn start(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pipes = ["in", "out"].map(|name| dir.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // The protocol is spoken on the descriptors 3 and 4.
        let child = Command::new("sh")
            .args(["-c", "in=$1 out=$2; shift 2; exec \"$@\" 3<\"$in\" 4>\"$out\"", "sh"])
            .args(&pipes)
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = OpenOptions::new().write(true).open(&pipes[0]).unwrap();
        let from = BufReader::new(File::open(&pipes[1]).unwrap());
        let (session, errors) = (None, Vec::new());
        let mut browser = Self { child, to, from, id: 0, session, loaded: false, errors, _dir: dir };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.loaded = false;
        self.call("Page.navigate", json!({"url": url}));
        self.wait_loaded();
    }

    /// Clicks on what a CSS selector finds first, and waits for the page it leads to.
    ///
    /// # Panics
    /// Where nothing is found.
    pub fn follow(&mut self, selector: &str) {
        self.loaded = false;
        let there = self.value(&format!(
            "(() => {{ const found = document.querySelector({selector:?}); found?.click(); return !!found; }})()"
        ));
        assert_eq!(there, true, "nothing on the page is {selector}");
        self.wait_loaded();
    }

    /// The value of a JavaScript expression, promises awaited.
    ///
    /// # Panics
    /// Where it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let options = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", options);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until an expression holds; looked at whenever the page changes.
    ///
    /// # Panics
    /// Where it does not hold within a minute.
    pub fn wait_for(&mut self, condition: &str) {
        let held = self.value(&format!(
            "new Promise(done => {{ const look = () => {{ if ({condition}) done(true); }};
                new MutationObserver(look).observe(document, {{ subtree: true, childList: true, characterData: true,
                    attributes: true }}); setTimeout(() => done(false), {PATIENCE_MS}); look(); }})"
        ));
        assert_eq!(held, true, "{condition}: not within {PATIENCE_MS} ms");
    }

    /// Lays the page out for a screen of this width, and where `LODE_SCREENSHOTS` names a directory, leaves a picture of
    /// the whole page there.
    pub fn show_at(&mut self, width: u32, name: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let Some(dir) = std::env::var_os("LODE_SCREENSHOTS") else { return };
        let options = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.call("Page.captureScreenshot", options);
        let path = Path::new(&dir).join(format!("{name}-{width}.png"));
        let png = BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, png).unwrap();
    }

    /// What the pages complained of in the console since the last call.
    pub fn errors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.errors)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        let id = self.id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut message = self.read();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
        }
    }

    fn wait_loaded(&mut self) {
        while !self.loaded {
            self.read();
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" => self.loaded = true,
            "Runtime.exceptionThrown" => self.errors.push(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                self.errors.push(params["args"].to_string());
            }
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                self.errors.push(format!("{}: {}", params["entry"]["url"], params["entry"]["text"]));
            }
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
