import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { Plugin } from 'vite'

const TEXTS = /\.(js|css|svg|ttf)$/
/** Smaller files fit into one packet. */
const LEAST_BYTES = 1_000
/** The highest quality would take ten times as long for a twentieth less. */
const BROTLI_QUALITY = 9

const byGzip = promisify(gzip)
const byBrotli = promisify(brotliCompress)

/** Writes each asset a second and a third time, compressed: the service then sends these. */
export function compress(): Plugin {
  return {
    name: 'compress-assets',
    async writeBundle({ dir = '.' }, bundle) {
      const files = Object.values(bundle).map((file) => ({
        path: join(dir, file.fileName),
        content: Buffer.from(file.type === 'chunk' ? file.code : file.source),
      }))
      const texts = files.filter(({ path, content }) => TEXTS.test(path) && content.length >= LEAST_BYTES)
      await Promise.all(
        texts.flatMap(({ path, content }) => [
          byGzip(content, { level: 9 }).then((packed) => writeFile(`${path}.gz`, packed)),
          byBrotli(content, {
            params: {
              [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY,
              [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
              [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
            },
          }).then((packed) => writeFile(`${path}.br`, packed)),
        ]),
      )
    },
  }
}
