//! The least agent: asks the model, does what it says, and stores every turn and every answer before
//! it goes on. The measure for what our investigations cost.
//!
//! It has no rules, no verdicts, no limits, no history to be read by anybody, and forgets where it
//! was when it ends.

use super::ceiling::Keeper;
use serde_json::{Value, json};
use std::sync::Arc;

const TURNS_MAX: usize = 25;
const SYSTEM: &str = "You are an experienced SRE on call. Diagnose before acting, prefer the smallest \
    safe change, ask for confirmation for anything that is not on the safe list, never delete data, \
    record every step and notify the team of the outcome. Work through: understand the alert, collect \
    logs, metrics and process state, find the root cause, propose a fix, run only safe fixes, verify, \
    summarise.";

pub struct Agent {
    http: reqwest::Client,
    doubles: String,
    keeper: Keeper,
    tools: Value,
}

impl Agent {
    pub fn new(doubles: &str, keeper: Keeper) -> Self {
        watchkeeper::clients::http::install_tls();
        let http = reqwest::Client::new();
        Self { http, doubles: format!("http://{doubles}"), keeper, tools: tools() }
    }

    /// Goes on until the model concludes.
    pub async fn investigate(self: Arc<Self>, alert: String, labels: String) {
        if let Err(error) = self.turns(&alert, &labels).await {
            eprintln!("{alert}: {error:#}");
        }
    }

    async fn turns(&self, alert: &str, labels: &str) -> anyhow::Result<()> {
        self.tell(format!("investigating {alert}")).await?;
        let mut messages = vec![
            json!({ "role": "system", "content": SYSTEM }),
            json!({ "role": "user", "content": format!("Production alert {alert}: {labels}") }),
        ];
        for _ in 0..TURNS_MAX {
            let mut answer = self.ask(&messages).await?;
            let message = answer["choices"][0]["message"].take();
            self.keeper.keep(message.to_string()).await;
            let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
            messages.push(message);
            for call in calls {
                let args = call["function"]["arguments"].as_str().unwrap_or("{}");
                let args: Value = serde_json::from_str(args)?;
                let Some(query) = args["query"].as_str() else {
                    return self.tell(format!("done {alert}: {args}")).await;
                };
                let output = self.look(query).await?;
                self.keeper.keep(output.clone()).await;
                let answer =
                    json!({ "role": "tool", "tool_call_id": call["id"], "content": output });
                messages.push(answer);
            }
        }
        Ok(())
    }

    async fn ask(&self, messages: &[Value]) -> anyhow::Result<Value> {
        let question = json!({
            "model": "scripted", "messages": messages, "tools": self.tools, "tool_choice": "auto",
            "temperature": 0.1,
        });
        let request = self.http.post(format!("{}/v1/chat/completions", self.doubles));
        let request = request.header("content-type", "application/json");
        let answer = request.body(serde_json::to_vec(&question)?).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn look(&self, query: &str) -> anyhow::Result<String> {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/query_range", self.doubles))?;
        url.query_pairs_mut().append_pair("query", query).append_pair("step", "60s");
        Ok(self.http.get(url).send().await?.text().await?)
    }

    async fn tell(&self, text: String) -> anyhow::Result<()> {
        let request = self.http.post(format!("{}/slack", self.doubles));
        let request = request.header("content-type", "application/json");
        request.body(json!({ "text": text }).to_string()).send().await?;
        Ok(())
    }
}

fn tools() -> Value {
    let names = [
        "get_service_logs",
        "get_metrics",
        "check_system_resources",
        "restart_service",
        "clean_disk_space",
        "request_human_confirmation",
        "send_notification",
        "run_diagnosis_command",
    ];
    let text = |about: &str| json!({ "type": "string", "description": about });
    let function = |name: &&str| {
        json!({ "type": "function", "function": {
            "name": name,
            "description": format!("{name}: a tool that is checked before it runs"),
            "parameters": { "type": "object", "required": ["host"], "properties": {
                "host": text("target host"),
                "service": text("service name"),
                "query": text("PromQL or command"),
                "reason": text("why, for the audit trail"),
            }},
        }})
    };
    names.iter().map(function).collect()
}
