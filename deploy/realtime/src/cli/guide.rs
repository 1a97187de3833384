//! What the help and the manual pages say of a command besides its flags: examples and exit statuses. The tests
//! run every example as it stands here, beside a server that was started with `realtime serve --demo`.

/// Examples of a command.
pub(crate) struct Guide {
    /// The command's words, after `realtime`.
    pub(crate) command: &'static str,
    /// What each line does, and the line.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

/// The exit statuses of every command.
pub(crate) const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "done"),
    ("1", "failed: no server, a refusal, a file that cannot be written"),
    ("2", "flags, variables, files, tokens or keys are wrong or missing; nothing was attempted"),
    ("3", "--dry-run: something would change"),
];

/// The guide of a command, by its words.
pub(crate) fn guide(command: &str) -> Option<&'static Guide> {
    GUIDES.iter().find(|guide| guide.command == command)
}

const GUIDES: &[Guide] = &[
    Guide {
        command: "",
        examples: &[
            (
                "Try it: a server with an application, and what to paste into another terminal",
                "realtime serve --demo",
            ),
            ("Then, in the same directory", "realtime sub demo news"),
            ("And in a third terminal", "realtime pub demo news 'hello'"),
        ],
    },
    Guide {
        command: "serve",
        examples: &[
            ("Try it: with an application, and what to paste into another terminal", "realtime serve --demo"),
            (
                "Open to the network, with its data elsewhere",
                "realtime serve --listen 0.0.0.0:8080 --data-dir ./data",
            ),
            (
                "The same from the environment",
                "REALTIME_LISTEN=0.0.0.0:8080 REALTIME_DATA_DIR=./data realtime serve",
            ),
        ],
    },
    Guide {
        command: "control-plane",
        examples: &[
            (
                "A replica on this machine's etcd",
                "REALTIME_OPERATOR_TOKEN=s3cret realtime control-plane --etcd http://127.0.0.1:2379",
            ),
            (
                "Another one beside it",
                "REALTIME_OPERATOR_TOKEN=s3cret realtime control-plane --etcd http://127.0.0.1:2379 \\\n  \
                 --listen 127.0.0.1:7080 --admin-listen 127.0.0.1:9081",
            ),
            ("Alone, with everything in a directory", "realtime control-plane --data-dir ./data"),
        ],
    },
    Guide {
        command: "data-plane",
        examples: &[
            (
                "A node of a cluster on this machine",
                "realtime data-plane --node-id node-1 --control-plane http://127.0.0.1:7070,http://127.0.0.1:7080",
            ),
            (
                "Another one beside it",
                "realtime data-plane --node-id node-2 --control-plane http://127.0.0.1:7070,http://127.0.0.1:7080 \\\n  \
                 --listen 127.0.0.1:8082 --peer-listen 127.0.0.1:7072 --admin-listen 127.0.0.1:9082",
            ),
        ],
    },
    Guide {
        command: "gateway",
        examples: &[(
            "The HTTP API of a cluster on this machine",
            "realtime gateway --control-plane http://127.0.0.1:7070,http://127.0.0.1:7080",
        )],
    },
    Guide {
        command: "token",
        examples: &[
            (
                "For the application that `realtime serve --demo` made",
                "realtime token --app demo --sub alice --permission 'realtime:publisher:write:topic:*'",
            ),
            (
                "With a key of your own, for a day",
                "realtime token --key app.key --sub alice --expires-in 1d \\\n  \
                 --permission 'realtime:subscriber:read:topic:secure/news'",
            ),
        ],
    },
    Guide {
        command: "keys generate",
        examples: &[
            ("Into two files, app.key and app.pub", "realtime keys generate --alg ES512 --out app"),
            ("A secret for HS256", "realtime keys generate --alg HS256"),
        ],
    },
    Guide {
        command: "certs init",
        examples: &[
            ("In ./cluster-certs, for ten years", "realtime certs init"),
            (
                "A second one, to replace the first",
                "realtime certs init --dir ./cluster-certs-2 --name 'Realtime cluster CA 2'",
            ),
        ],
    },
    Guide {
        command: "certs issue",
        examples: &[
            (
                "For a node that the others reach by a name and an address",
                "realtime certs issue --name node-1 --host node-1.internal 10.0.0.11",
            ),
            (
                "For a gateway, for 90 days; the same command renews it",
                "realtime certs issue --name gateway-1 --host gateway-1.internal --days 90",
            ),
        ],
    },
    Guide {
        command: "apps list",
        examples: &[("As a table", "realtime apps list"), ("For programs", "realtime apps list --json")],
    },
    Guide {
        command: "apps get",
        examples: &[("Into a file, to edit it and apply it", "realtime apps get demo > demo.json")],
    },
    Guide {
        command: "apps apply",
        examples: &[
            ("Show what would change", "realtime apps apply -f demo.json --dry-run"),
            ("Show it and do it", "realtime apps apply -f demo.json"),
            (
                "Change one attribute",
                "realtime apps get demo \\\n  | sed 's/\"disconnectOnTokenExpiry\": false/\"disconnectOnTokenExpiry\": true/' \\\n  \
                 | realtime apps apply -f -",
            ),
        ],
    },
    Guide { command: "apps delete", examples: &[("", "realtime apps delete demo")] },
    Guide {
        command: "settings get",
        examples: &[("Into a file, to edit it and apply it", "realtime settings get > settings.json")],
    },
    Guide {
        command: "settings apply",
        examples: &[
            ("Show what would change", "realtime settings apply -f settings.json --dry-run"),
            ("Show it and do it", "realtime settings apply -f settings.json"),
        ],
    },
    Guide {
        command: "nodes list",
        examples: &[("As a table", "realtime nodes list"), ("For programs", "realtime nodes list --json")],
    },
    Guide { command: "drain", examples: &[("", "realtime drain node-1")] },
    Guide { command: "undrain", examples: &[("", "realtime undrain node-1")] },
    Guide {
        command: "pub",
        examples: &[
            ("Text, to the application that `realtime serve --demo` made", "realtime pub demo news 'hello'"),
            ("A JSON object", "realtime pub demo news '{\"hello\":\"world\"}'"),
            (
                "With a token of your own",
                "realtime pub demo news 'hello' --app-token \\\n  \
                 \"$(realtime token --app demo --permission 'realtime:publisher:write:topic:news')\"",
            ),
        ],
    },
    Guide {
        command: "sub",
        examples: &[
            ("In the application that `realtime serve --demo` made", "realtime sub demo news main"),
            ("One message, as JSON", "realtime sub demo news --count 1 --json"),
        ],
    },
    Guide {
        command: "completions",
        examples: &[
            ("In this bash", "source <(realtime completions bash)"),
            (
                "In every bash from now on",
                "mkdir -p ~/.local/share/bash-completion/completions\n\
                 realtime completions bash > ~/.local/share/bash-completion/completions/realtime",
            ),
            ("In zsh, a directory of $fpath", "realtime completions zsh > _realtime"),
            ("In fish", "realtime completions fish > realtime.fish"),
        ],
    },
    Guide {
        command: "man",
        examples: &[
            ("Read a page", "realtime man apps apply | man -l -"),
            ("All pages, for `man` to find", "realtime man --dir ~/.local/share/man/man1"),
        ],
    },
];
