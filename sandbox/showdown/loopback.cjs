// Keeps the battle server to itself (`node --require`): names are looked up on loopback only, and the server ends
// when whoever started it has ended, however that came about: its standard input closes.

const dns = require('node:dns');

const isLoopback = (name) => !name || name === 'localhost' || name === '::1' || /^127(\.\d+){3}$/.test(name);

const refusal = (name) =>
  Object.assign(new Error(`${name} is not on loopback`), { code: 'ENOTFOUND', hostname: name });

const lookup = dns.lookup;
dns.lookup = (name, ...rest) =>
  isLoopback(name) ? lookup(name, ...rest) : process.nextTick(rest.at(-1), refusal(name));
const lookupPromise = dns.promises.lookup;
dns.promises.lookup = async (name, ...rest) => {
  if (!isLoopback(name)) throw refusal(name);
  return lookupPromise(name, ...rest);
};

// These ask a name server even for loopback.
const questions = Object.keys(dns).filter((name) => /^(resolve|reverse)/.test(name));
for (const question of questions) {
  dns[question] = (name, ...rest) => process.nextTick(rest.at(-1), refusal(name));
  dns.promises[question] = async (name) => {
    throw refusal(name);
  };
}

// A child of the server has a channel to it and ends with that.
if (!process.send) process.stdin.on('end', () => process.kill(process.pid, 'SIGTERM')).resume();
