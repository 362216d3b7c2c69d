// Keeps the page true: on each event from the pool, fetch this page again and put its <main> in place of ours.
(() => {
  const light = document.getElementById("live");
  let busy = false, again = false;
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
    } catch { /* the next event tries again */ }
    busy = false;
    if (again) { again = false; refresh(); }
  }
  const events = new EventSource("/api/v1/events");
  events.onopen = () => { light.className = ""; light.textContent = "live"; };
  events.onerror = () => { light.className = "off"; light.textContent = "no connection"; };
  events.addEventListener("changed", refresh);
})();
