
"use strict";
{
  const failing = new Set(["violated", "error", "timed out", "crashed", "cannot be called", "unexpectedly holds"]);
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const matrix = document.getElementById("matrix");
  const label = (cell) => cell.firstElementChild ? cell.firstElementChild.getAttribute("aria-label") : "";

  const groups = [...matrix.tBodies].map((body) => ({
    body,
    component: body.dataset.c,
    rows: [...body.rows].slice(1).map((row) => ({
      row,
      level: row.dataset.l,
      text: (row.cells[0].textContent + " " + row.cells[0].title).toLowerCase(),
      verdicts: [...row.cells].slice(1).map(label),
    })),
  }));
  const sections = [...document.querySelectorAll("section.implementation")].map((section) => ({
    section,
    place: section.dataset.i,
    findings: [...section.querySelectorAll("details.finding")].map((details) => ({
      details,
      verdict: details.dataset.v,
      component: details.dataset.c,
      level: details.dataset.l,
      text: "",
    })),
  }));

  const words = (finding) => {
    if (!finding.text) {
      const parts = finding.details.querySelectorAll(".id, .what, .statement, .message, .why");
      finding.text = [...parts].map((part) => part.textContent).join(" ").toLowerCase();
    }
    return finding.text;
  };
  const fits = (verdict, wanted) => !wanted || (wanted === "failing" ? failing.has(verdict) : verdict === wanted);

  let column = "";
  const showColumn = (wanted) => {
    if (wanted === column) return;
    column = wanted;
    const lines = [matrix.tHead.rows[0], ...groups.flatMap((group) => group.rows.map((item) => item.row))];
    for (const line of lines) {
      for (let place = 1; place < line.cells.length; place += 1) {
        line.cells[place].hidden = wanted !== "" && place - 1 !== Number(wanted);
      }
    }
  };

  const apply = () => {
    const { verdict, component, implementation, level, text } = Object.fromEntries(new FormData(form));
    const sought = text.trim().toLowerCase();
    showColumn(implementation);
    let rows = 0, allRows = 0, found = 0, allFound = 0;
    for (const group of groups) {
      let here = 0;
      for (const item of group.rows) {
        const verdicts = implementation === "" ? item.verdicts : [item.verdicts[Number(implementation)]];
        const keep = (!component || group.component === component) && (!level || item.level === level)
          && (!sought || item.text.includes(sought)) && (!verdict || verdicts.some((one) => fits(one, verdict)));
        item.row.hidden = !keep;
        here += keep;
        allRows += 1;
      }
      group.body.hidden = here === 0;
      rows += here;
    }
    for (const part of sections) {
      let here = 0;
      const chosen = implementation === "" || part.place === implementation;
      for (const item of part.findings) {
        const keep = chosen && fits(item.verdict, verdict) && (!component || item.component === component)
          && (!level || item.level === level) && (!sought || words(item).includes(sought));
        item.details.hidden = !keep;
        here += keep;
        allFound += 1;
      }
      part.section.hidden = here === 0;
      found += here;
    }
    shown.textContent = `${rows} of ${allRows} invariants, ${found} of ${allFound} findings`;
  };

  let waiting = 0;
  const later = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(apply);
  };
  form.addEventListener("input", later);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());

  const copy = async (button, code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  const offerCopy = (details) => {
    const command = details.open && details.querySelector(".command");
    if (!command || command.querySelector("button")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", () => copy(button, command.querySelector("code")));
    command.append(button);
  };
  document.addEventListener("toggle", (event) => offerCopy(event.target), true);
  // What is open from the start may have told so before anyone listened.
  document.querySelectorAll("details[open]").forEach(offerCopy);

  const open = () => {
    const target = /^#f\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    const details = target && target.closest("details");
    if (!details) return;
    if (details.hidden) { form.reset(); apply(); }
    details.open = true;
    details.scrollIntoView();
  };
  addEventListener("hashchange", open);

  form.hidden = false;
  apply();
  open();
}
