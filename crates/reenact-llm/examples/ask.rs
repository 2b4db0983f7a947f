//! Asks a model one thing: a check of address, key, certificates and prices.
//!
//!     cargo run -p reenact-llm --example ask -- openai/NAME 'Say hello.' [BASE_URL]

use reenact_llm::{Client, ClientOptions, Conversation, Endpoint, PriceTable, Tool};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("give a model and a question")?;
    let question = arguments.next().ok_or("give a question")?;
    let endpoint = Endpoint::resolve(&model, arguments.next().as_deref(), None)?;
    let client = Client::new(endpoint, ClientOptions::default());
    let mut conversation = Conversation::new("You are helpful.");
    conversation.user(question);
    let on_wait = |text: &str| eprintln!("{text}");
    let reply = client.complete(&conversation, &Tool::bash(), &|| false, &on_wait)?;
    println!("{}", reply.text);
    for call in &reply.tool_calls {
        println!("{} {:?}", call.name, call.arguments);
    }
    let cost = reply.usage.and_then(|u| PriceTable::built_in().cost(client.endpoint().model(), &u));
    println!("{:?}, dollars: {cost:?}", reply.usage);
    Ok(())
}
