// Receives the poller's webhooks in Node, without packages: the raw body, verified after Standard
// Webhooks (https://www.standardwebhooks.com), before anything believes it.
//
//     POLLER_SINKS__APP__SECRET=whsec_… node deploy/examples/receiver.mjs
//
// It prints a line for each event. `PORT` (3000) is where it listens.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

const key = Buffer.from(process.env.POLLER_SINKS__APP__SECRET.replace(/^whsec_/, ''), 'base64')
const port = Number(process.env.PORT ?? 3000)
const tolerance = 5 * 60
const seen = new Set()

function isGenuine(headers, body) {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': given } = headers
  if (!id || !given || !(Math.abs(Date.now() / 1000 - Number(timestamp)) < tolerance)) return false
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest()
  // several signatures while a secret is being rotated: one that fits is enough
  return given.split(' ').some((signature) => {
    const bytes = Buffer.from(signature.replace(/^v1,/, ''), 'base64')
    return bytes.length === expected.length && timingSafeEqual(bytes, expected)
  })
}

const server = createServer(async (request, response) => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks) // the bytes that were signed: parse only afterwards
  if (!isGenuine(request.headers, body)) return response.writeHead(401).end()
  const { id, type, subject, data } = JSON.parse(body)
  if (!seen.has(id)) console.log(type, subject, JSON.stringify(data.delta), data.final ? 'final' : '')
  seen.add(id) // a repeated event has the same id
  response.writeHead(204).end() // only now: what is answered with 2xx is never sent again
})

server.listen(port, '127.0.0.1', () => console.log(`listening on ${server.address().port}`))
process.on('SIGTERM', () => process.exit(0))
