(function () {
  "use strict";
  var root = document.documentElement;
  var query = new URLSearchParams(location.search);
  function kept(name) {
    try { return localStorage.getItem("emr-fl-report-" + name); } catch (error) { return null; }
  }
  function keep(name, value) {
    try { localStorage.setItem("emr-fl-report-" + name, value); } catch (error) { /* a file opened without storage */ }
  }
  function show(language) {
    root.setAttribute("data-lang", language);
    root.lang = language === "zh" ? "zh-CN" : "en";
    document.querySelectorAll("[data-label-en]").forEach(function (element) {
      element.setAttribute("aria-label", element.getAttribute("data-label-" + language));
    });
    var title = document.querySelector("title");
    title.textContent = title.getAttribute("data-" + language);
    var choice = document.getElementById("lang-" + language);
    if (choice) { choice.checked = true; }
  }
  function theme(name) {
    if (name === "light" || name === "dark") { root.setAttribute("data-theme", name); }
  }
  var asked = query.get("lang") || kept("lang");
  var first = asked === "zh" || asked === "en" ? asked : root.getAttribute("data-opens-in");
  root.classList.remove("nojs");
  root.setAttribute("data-lang", first);
  theme(query.get("theme") || kept("theme"));

  document.addEventListener("DOMContentLoaded", function () {
    show(first);
    ["zh", "en"].forEach(function (language) {
      document.getElementById("lang-" + language).addEventListener("change", function () {
        show(language);
        keep("lang", language);
      });
    });
    document.getElementById("theme").addEventListener("click", function () {
      var dark = root.getAttribute("data-theme") === "dark" ||
        (!root.hasAttribute("data-theme") && matchMedia("(prefers-color-scheme: dark)").matches);
      theme(dark ? "light" : "dark");
      keep("theme", dark ? "light" : "dark");
    });

    var bubble = document.getElementById("bubble");
    function point(event) {
      var mark = event.target.closest ? event.target.closest("[data-tip-en]") : null;
      if (!mark) { bubble.hidden = true; return; }
      bubble.textContent = mark.getAttribute("data-tip-" + root.getAttribute("data-lang"));
      bubble.hidden = false;
      var box = mark.getBoundingClientRect();
      var left = box.left + box.width / 2 - bubble.offsetWidth / 2;
      left = Math.max(8, Math.min(left, root.clientWidth - bubble.offsetWidth - 8));
      var top = box.top - bubble.offsetHeight - 8;
      bubble.style.left = left + "px";
      bubble.style.top = (top < 8 ? box.bottom + 8 : top) + "px";
    }
    document.addEventListener("pointerover", point);
    document.addEventListener("pointerdown", point);
    addEventListener("scroll", function () { bubble.hidden = true; }, { passive: true });

    document.querySelectorAll("table.sortable").forEach(function (table) {
      var body = table.tBodies[0];
      table.querySelectorAll("thead th").forEach(function (head, column) {
        var button = document.createElement("button");
        button.type = "button";
        while (head.firstChild) { button.appendChild(head.firstChild); }
        head.appendChild(button);
        button.addEventListener("click", function () {
          var was = head.getAttribute("aria-sort");
          var words = head.hasAttribute("data-words");
          var rising = was ? was === "descending" : words;
          table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
          head.setAttribute("aria-sort", rising ? "ascending" : "descending");
          var key = function (row) { return row.cells[column].getAttribute("data-key") || ""; };
          var language = root.getAttribute("data-lang");
          Array.prototype.slice.call(body.rows).sort(function (a, b) {
            var one = key(a), two = key(b);
            if (words) {
              one = a.cells[column].querySelector("." + language) || a.cells[column];
              two = b.cells[column].querySelector("." + language) || b.cells[column];
              return (rising ? 1 : -1) * one.textContent.localeCompare(two.textContent, language);
            }
            if (one === "" || two === "") { return (one === "") - (two === ""); }
            return (rising ? 1 : -1) * (Number(one) - Number(two));
          }).forEach(function (row) { body.appendChild(row); });
        });
      });
    });
  });
})();
