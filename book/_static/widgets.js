// Read by require.js when it starts: where the widget manager is, and with it its fonts.
window.require = {
  paths: { "@jupyter-widgets/html-manager/dist": new URL("widgets", document.currentScript.src).href },
};
