// The search runs in a worker, and browsers start none for a page that was opened as a file. There it runs in a hidden frame
// of the page instead; over HTTP this does nothing. The theme looks for the name IFrameWorker.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      inside.importScripts = async (...urls) => {
        for (const each of urls) await load(inside.document, each)
      }
      this.inside = inside
      this.ready = load(inside.document, String(url))
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
  window.Worker = window.IFrameWorker
}

function load(page, url) {
  return new Promise((done, failed) => {
    const script = page.createElement("script")
    script.src = url
    script.onload = done
    script.onerror = () => failed(new Error(`${url} cannot be read`))
    page.body.append(script)
  })
}
