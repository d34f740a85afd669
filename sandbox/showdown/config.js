// The battle server's settings: its own, but for what would leave this machine. Copied by sandbox/battle_server.py.

const NOWHERE = '127.0.0.1:9';

exports.bindaddress = '127.0.0.1';
exports.loginserver = `http://${NOWHERE}/`;
exports.routes = { root: NOWHERE, client: NOWHERE, dex: NOWHERE, replays: NOWHERE };

// Anybody is who they say, and all of them come from one address.
exports.noguestsecurity = true;
exports.noipchecks = true;
// The throttle stays on: a crawler must obey it. `--no-security` would turn it off.
exports.nothrottle = false;

exports.repl = false;
exports.backdoor = false;
exports.watchconfig = false;
exports.reportbattles = false;

exports.subprocesses = {
  network: 1,
  simulator: 1,
  validator: 1,
  verifier: 0,
  localartemis: 0,
  remoteartemis: 0,
  friends: 0,
  chatdb: 0,
  modlog: 0,
  pm: 0,
  battlesearch: 0,
  datasearch: 0,
};
