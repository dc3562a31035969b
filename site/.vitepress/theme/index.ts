import { useRoute } from 'vitepress'
import DefaultTheme from 'vitepress/theme'
import { nextTick, onMounted, watch } from 'vue'

/** Diagrams that are still text. */
const DIAGRAMS = 'pre.mermaid:not([data-processed])'

/** Draws the diagrams of a page. Most pages have none, and load nothing. */
async function draw(): Promise<void> {
  await nextTick()
  const nodes = [...document.querySelectorAll<HTMLElement>(DIAGRAMS)]
  if (nodes.length === 0) return
  const { default: mermaid } = await import('mermaid')
  mermaid.initialize({
    startOnLoad: false,
    theme: document.documentElement.classList.contains('dark') ? 'dark' : 'default',
  })
  await mermaid.run({ nodes })
}

export default {
  extends: DefaultTheme,
  setup() {
    const route = useRoute()
    onMounted(draw)
    watch(() => route.path, draw)
  },
}
