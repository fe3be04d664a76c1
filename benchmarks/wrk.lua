-- wrk sends the bytes of the file named by the first argument, as they are; the result is
-- one line of JSON.
function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local request = file:read("*a")
  file:close()
  -- Called once: without a request() function wrk sends the same bytes every time, and
  -- counts how many requests they are.
  wrk.format = function() return request end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "bad_status": %d, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
