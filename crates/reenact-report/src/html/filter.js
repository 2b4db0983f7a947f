
"use strict";
// Narrows the lists of failing cases to those that hold the typed words. The page is complete without it.
(function () {
  var bar = document.getElementById("filter");
  var input = document.getElementById("q");
  var count = document.getElementById("qn");
  var cases = Array.prototype.slice.call(document.querySelectorAll("[data-case]"));
  if (!bar || cases.length === 0) { return; }
  bar.hidden = false;
  function apply() {
    var words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0;
    cases.forEach(function (item) {
      var hay = item.getAttribute("data-case").toLowerCase();
      var hit = words.every(function (word) { return hay.indexOf(word) >= 0; });
      item.hidden = !hit;
      if (hit) { shown += 1; }
    });
    document.querySelectorAll("details.alike").forEach(function (group) {
      var any = group.querySelector("[data-case]:not([hidden])") !== null;
      group.hidden = words.length > 0 && !any;
      if (words.length > 0 && any && shown <= 50) { group.open = true; }
    });
    count.textContent = words.length > 0 ? shown + " of " + cases.length + " cases" : "";
  }
  input.addEventListener("input", apply);
  document.addEventListener("keydown", function (event) {
    if (event.key === "/" && document.activeElement !== input) { event.preventDefault(); input.focus(); }
    if (event.key === "Escape" && document.activeElement === input) { input.value = ""; apply(); input.blur(); }
  });
})();
