// What moves by itself on a page. One socket a tab, whichever parts of it are mounted; see ui/page/feed.py for what it says.

const RETRY_MS = 1000, ANSWER_MS = 8000;
const mounted = new Set();
let socket = null, last = null, heard = 0, opened = false;

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { opened = true; mounted.forEach((one) => one.opened()); };
  socket.onmessage = (message) => {
    last = JSON.parse(new TextDecoder().decode(message.data));
    heard = performance.now();
    mounted.forEach((one) => one.hear(last));
  };
  socket.onclose = () => {
    socket = null;
    if (mounted.size) setTimeout(() => socket || connect(), RETRY_MS);
    mounted.forEach((one) => one.tick());
  };
}

const number = (value) => value.toLocaleString("en-GB");
function ago(iso) {
  const s = Math.max(0, Math.floor((Date.now() - Date.parse(iso)) / 1000));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (s >= 2 * size) return `${Math.floor(s / size)} ${unit}`;
  return `${s} s`;
}

function retell(root) {
  for (const when of root.querySelectorAll("time[data-ago]")) {
    const text = `${ago(when.dateTime)} ${when.dataset.ago}`.trimEnd();
    if (when.textContent !== text) when.textContent = text;
  }
}

// ------------------------------------------------------------------------------------------------ the line at the top
class Strip {
  constructor(root) {
    this.root = root;
    this.asked = this.askedAt = 0;
    this.waiting = null;
    this.line = document.createElement("div");
    this.line.className = "strip";
    this.status = document.createElement("div");  // for who hears the page: the line itself changes every second
    this.status.className = "heard";
    this.status.setAttribute("role", "status");
    root.replaceChildren(this.line, this.status);
    this.timer = setInterval(() => this.tick(), 1000);
    this.click = (event) => this.clicked(event);
    this.press = (event) => this.pressed(event);
    document.addEventListener("click", this.click);
    document.addEventListener("keydown", this.press);
  }
  update(component) {
    const before = JSON.stringify(this.data && [this.data.drawn, this.data.about]);
    this.data = component.data;
    this.trigger = component.setTriggerValue;
    this.drawnAt = performance.now();
    if (before !== JSON.stringify([this.data.drawn, this.data.about])) this.opened();
    this.tick();
  }
  opened() {
    if (socket && socket.readyState === 1) socket.send(JSON.stringify({ drawn: this.data.drawn, about: this.data.about }));
  }
  hear(message) {
    this.tick();
    const lost = performance.now() - this.askedAt > ANSWER_MS;  // a request to draw that came to nothing is made again
    const known = lost ? this.data.drawn : Math.max(this.data.drawn, this.asked);
    const stale = this.data.live && !this.data.still && message.moved && message.moved > known;
    if (!stale || this.waiting) return;
    const spread = Math.random() * (1000 * message.pace_s - 500);  // many pages are not drawn in the same moment
    const wait = Math.max(0, spread, 1000 * message.pace_s - (performance.now() - this.drawnAt));
    this.waiting = setTimeout(() => {
      this.waiting = null;
      if (document.hidden || !last || !last.moved) return;
      [this.asked, this.askedAt] = [last.moved, performance.now()];
      this.trigger("moved", last.moved);
    }, wait);
  }
  tick() {
    const lost = !socket || socket.readyState !== 1 || performance.now() - heard > 6000;
    let mark = "●", kind = "ok", text = "";
    if (!this.data) return;
    if (lost && opened) [mark, kind, text] = ["✗", "bad", "This page has lost its server; it tries again by itself."];
    else if (!last) [mark, kind, text] = ["◌", "faint", "connecting …"];
    else if (last.state !== "live") [mark, kind, text] = ["✗", "bad", `The feed stopped ${ago(last.since)} ago at event ${number(last.position)}: ${last.why}.`];
    else text = `live · event ${number(last.position)}${last.at ? ` · ${ago(last.at)} ago` : ""}`;
    const said = `<b class="${kind}" aria-hidden="true">${mark}</b> `;
    if (this.said !== said + text) {
      this.said = said + text;
      this.line.innerHTML = said;
      this.line.append(text);
      this.line.dataset.state = kind === "ok" ? "live" : kind === "bad" ? "stopped" : "connecting";
    }
    if (this.kind !== kind) {
      if (kind === "bad") this.status.textContent = text;
      else if (this.kind === "bad") this.status.textContent = "The page follows the market again.";
      this.kind = kind;
    }
    retell(document);
  }
  clicked(event) {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const at = event.composedPath().find((one) => one.matches && one.matches("a[data-page], button[data-copy]"));
    if (!at) return;
    if (at.dataset.copy !== undefined) {
      const done = () => { const text = at.textContent; at.textContent = "copied"; setTimeout(() => { at.textContent = text; }, 1200); };
      if (at.textContent !== "copied") navigator.clipboard.writeText(at.dataset.copy).then(done, () => {});
      return;
    }
    event.preventDefault();
    this.trigger("go", at.getAttribute("href"));
    scrollTo(0, 0);
  }
  pressed(event) {
    const field = event.composedPath()[0];
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(input|textarea|select)$/i.test(field.tagName || "") || field.isContentEditable) return;
    const search = document.querySelector(".st-key-search input");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  }
  close() {
    clearInterval(this.timer);
    clearTimeout(this.waiting);
    document.removeEventListener("click", this.click);
    document.removeEventListener("keydown", this.press);
  }
}

// -------------------------------------------------------------------------------------------------- the last events
class Ticker {
  constructor(root) {
    this.root = root;
    root.replaceChildren(document.createElement("ol"));
    this.list = root.firstChild;
    this.list.className = "ticker";
    this.timer = setInterval(() => this.tick(), 5000);
  }
  update(component) {
    this.data = component.data;
    if (last) this.hear(last);
  }
  opened() {}
  hear(message) {
    const wanted = message.lines.slice(-this.data.ticker).reverse();
    const known = new Map([...this.list.children].map((item) => [Number(item.dataset.position), item]));
    this.list.replaceChildren(...wanted.map((line) => known.get(line.position) || this.item(line)));
    this.tick();
  }
  item(line) {
    const item = document.createElement("li"), link = document.createElement("a"), when = document.createElement("time");
    item.dataset.position = line.position;
    link.href = this.data.href.replace("POSITION", line.position);
    link.dataset.page = "event";
    link.textContent = `#${number(line.position)}`;
    link.title = line.name;
    when.dateTime = line.at;
    when.dataset.ago = "ago";
    item.append(link, " ", line.text, " ", when);
    if (this.list.firstChild) {  // a colour for a moment, not an animation, which paints sixty times a second
      item.className = "fresh";
      setTimeout(() => item.classList.remove("fresh"), 1500);
    }
    return item;
  }
  tick() { retell(this.list); }
  close() { clearInterval(this.timer); }
}

const parts = new WeakMap();
export default function (component) {
  const root = component.parentElement;
  let place = [...root.children].find((one) => one.className === "pasar");  // in a shadow root :scope finds nothing
  if (!place) {
    place = document.createElement("div");
    place.className = "pasar";
    root.append(place);
  }
  let part = parts.get(place);
  if (!part) {
    part = component.data.ticker ? new Ticker(place) : new Strip(place);
    parts.set(place, part);
    mounted.add(part);
  }
  part.update(component);
  if (!socket) connect();
  return () => {
    part.close();
    mounted.delete(part);
    parts.delete(place);
    if (!mounted.size && socket) socket.close();
  };
}
