// A program: fetch of Node.js. Arguments: base URL, model. Prints what it got as JSON.
const [base, model] = process.argv.slice(2);
const ask = (stream) =>
  fetch(`${base}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer sk-not-checked" },
    body: JSON.stringify({ model, stream, messages: [{ role: "user", content: "Hi" }] }),
  });
const whole = (await (await ask(false)).json()).choices[0].message.content;
const response = await ask(true);
let raw = "";
for await (const piece of response.body.pipeThrough(new TextDecoderStream())) raw += piece;
const events = raw.split("\n\n").filter((part) => part.startsWith("data: ") && !part.includes("[DONE]"));
const stream = events.map((event) => JSON.parse(event.slice(6)).choices[0].delta.content ?? "").join("");
console.log(JSON.stringify({ whole, stream, comments: raw.includes(": keep-alive\n\n"), done: raw.endsWith("data: [DONE]\n\n") }));
