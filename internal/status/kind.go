package status

// Kind is one word for one thing that can be wrong. The list is closed: [Kinds].
type Kind string

// What can be wrong.
const (
	KafkaAway   Kind = "kafka-away"
	KafkaSlow   Kind = "kafka-slow"
	KafkaTopics Kind = "kafka-topics"

	RedisAway        Kind = "redis-away"
	RedisSlow        Kind = "redis-slow"
	RedisUnsafe      Kind = "redis-unsafe"
	RedisCatchingUp  Kind = "redis-catching-up"
	ConsentUntrusted Kind = "consent-untrusted"

	DiskFull  Kind = "disk-full"
	DiskLow   Kind = "disk-low"
	DiskStuck Kind = "disk-stuck"
	DiskSlow  Kind = "disk-slow"

	EvidenceBroken      Kind = "evidence-broken"
	EvidenceDamaged     Kind = "evidence-damaged"
	EvidenceUnpublished Kind = "evidence-unpublished"
	EvidenceUnsealed    Kind = "evidence-unsealed"

	RulesSilent   Kind = "rules-silent"
	RulesRefused  Kind = "rules-refused"
	RulesTripped  Kind = "rules-tripped"
	EnginesDiffer Kind = "engines-differ"

	ConsumerIdle      Kind = "consumer-idle"
	ConsumerWaits     Kind = "consumer-waits"
	ConsumerStopped   Kind = "consumer-stopped"
	ConsumerBehind    Kind = "consumer-behind"
	LedgerUnbalanced  Kind = "ledger-unbalanced"
	JudgingPanics     Kind = "judging-panics"
	ManyDeadLetters   Kind = "many-dead-letters"
	PushesHalted      Kind = "pushes-halted"
	APIRefuses        Kind = "api-refuses"
	MetricsUnreadable Kind = "metrics-unreadable"
)

// words are a text in both languages of the page.
type words struct{ en, zh string }

// about is what is known of a kind beforehand.
type about struct {
	part       PartName
	level      Level
	what, next words
	runbook    string // section of docs/operations.md
	// because are kinds that explain it: while one of them holds, it is not said as well.
	because []Kind
}

var kinds = map[Kind]about{
	KafkaAway: {Kafka, Down,
		words{"Kafka does not answer", "Kafka 无响应"},
		words{"See that its brokers run and can be reached from here. Nothing is lost: what is in Kafka waits there, and Weir goes on by itself.",
			"检查 broker 是否在运行、从本机是否可达。数据不会丢失：消息留在 Kafka 中，恢复后 Weir 自动继续。"},
		"kafka-does-not-answer", nil},
	KafkaSlow: {Kafka, Warn,
		words{"Kafka answers slowly", "Kafka 响应缓慢"},
		words{"Look at the load of its brokers and at the network between.", "检查 broker 负载以及与本机之间的网络。"},
		"kafka-does-not-answer", []Kind{KafkaAway}},
	KafkaTopics: {Kafka, Down,
		words{"A topic is missing or cannot be read or written", "有主题缺失或无法读写"},
		words{"Create the topic, or see why its partition has no leader.", "创建缺失的主题，或检查分区为何没有 leader。"},
		"kafka-does-not-answer", []Kind{KafkaAway}},

	RedisAway: {Redis, Down,
		words{"Redis does not answer", "Redis 无响应"},
		words{"See that it runs and can be reached. Meanwhile each class of pushes is decided by the rule of the policy for that (on_outage).",
			"检查 Redis 是否在运行、是否可达。期间各类推送按策略的 on_outage 规则决定。"},
		"redis-is-away", nil},
	RedisSlow: {Redis, Warn,
		words{"Redis answers slowly", "Redis 响应缓慢"},
		words{"Look at its load, at slow commands (SLOWLOG) and at the network between.", "检查 Redis 负载、慢命令（SLOWLOG）以及网络。"},
		"redis-does-not-take-what-it-is-given", []Kind{RedisAway}},
	RedisUnsafe: {Redis, Down,
		words{"Redis cannot be relied on", "Redis 不可依赖"},
		words{"Mend what it says; until then limits and consent may not hold.", "按提示修复；在此之前限额与同意可能失效。"},
		"redis-what-weir-refuses-and-what-it-warns-of", []Kind{RedisAway}},
	RedisCatchingUp: {Redis, Warn,
		words{"Redis is told what was sent while it was away", "正在向 Redis 补记断连期间的推送"},
		words{"Wait; this ends by itself.", "请等待，会自动结束。"},
		"redis-is-away", []Kind{RedisAway}},
	ConsentUntrusted: {Redis, Warn,
		words{"Pushes that need consent wait", "需要用户同意的推送正在等待"},
		words{"Consent is being read again from Kafka. Wait; if it takes long, see the log.", "正在从 Kafka 重新读取同意记录。请等待；若时间过长，请查看日志。"},
		"consent-waits", []Kind{RedisAway, KafkaAway}},

	DiskFull: {Disk, Down,
		words{"The disk of the evidence is full", "证据磁盘已满"},
		words{"Make room or a larger disk. Until then what needs evidence waits; nothing is lost.", "清理空间或扩容磁盘。在此之前需要留证的消息会等待，不会丢失。"},
		"the-disk-of-the-evidence-is-full", nil},
	DiskLow: {Disk, Warn,
		words{"The disk of the evidence is nearly full", "证据磁盘即将写满"},
		words{"Make room before it is full.", "请在写满之前清理空间。"},
		"the-disk-of-the-evidence-is-full", []Kind{DiskFull}},
	DiskStuck: {Disk, Down,
		words{"The disk of the evidence does not come back from a write", "证据磁盘写入无返回"},
		words{"Look at the disk (dmesg, iostat) or at the storage behind it. Nothing is judged meanwhile.", "检查磁盘（dmesg、iostat）或其后端存储。期间不会进行判定。"},
		"the-disk-is-slow", nil},
	DiskSlow: {Disk, Warn,
		words{"The disk of the evidence is slow", "证据磁盘缓慢"},
		words{"See what else writes to it; evidence wants a disk of its own.", "检查还有什么在写这块磁盘；证据最好独占一块磁盘。"},
		"the-disk-is-slow", []Kind{DiskStuck}},

	EvidenceBroken: {EvidenceLog, Down,
		words{"Evidence cannot be written", "证据无法写入"},
		words{"Weir ends. Mend the disk, then start it again: it goes on from what is on the disk.", "Weir 即将退出。修复磁盘后重新启动，它会从磁盘上的内容继续。"},
		"evidence-cannot-be-written", nil},
	EvidenceDamaged: {EvidenceLog, Down,
		words{"Evidence on the disk is not what was written", "磁盘上的证据与写入时不一致"},
		words{"Run weir evidence verify, and restore the files it names from a copy.", "运行 weir evidence verify，并从副本恢复它指出的文件。"},
		"evidence-is-damaged", nil},
	EvidenceUnpublished: {EvidenceLog, Warn,
		words{"Heads of the evidence are not published", "证据日志头未发布"},
		words{"See that the topic of heads takes messages.", "检查日志头主题能否写入。"},
		"heads-are-not-published", []Kind{KafkaAway, KafkaTopics}},
	EvidenceUnsealed: {EvidenceLog, Warn,
		words{"Segments of the evidence are not sealed", "证据分段未能封存"},
		words{"The log says why; most often the disk is full.", "日志中有原因，通常是磁盘已满。"},
		"segments-are-not-sealed", []Kind{DiskFull}},

	RulesSilent: {Rules, Down,
		words{"Rules are loaded but do not fire", "规则已加载但不生效"},
		words{"Put the rules in force again that were before, and tell us: this is a bug.", "请恢复之前的规则并告知我们：这是缺陷。"},
		"changing-rules-and-taking-a-change-back", nil},
	RulesRefused: {Rules, Warn,
		words{"The last change was refused; what was before stays in force", "最近一次变更被拒绝，原有规则继续生效"},
		words{"Correct what it says, then reload.", "按提示修正后重新加载。"},
		"changing-rules-and-taking-a-change-back", nil},
	RulesTripped: {Rules, Warn,
		words{"Rules hit too much and have lost their action", "有规则命中过多，已失去处置效力"},
		words{"Look at what they hit, then correct them, or give the action back with weir rules restore.", "查看命中内容，修正规则，或用 weir rules restore 恢复其处置。"},
		"a-rule-has-lost-its-action", nil},
	EnginesDiffer: {Rules, Down,
		words{"Two engines do not find the same", "两个引擎的结果不一致"},
		words{"Tell us, with the lines of the log that name the rules: this is a bug.", "请将日志中列出规则的行告知我们：这是缺陷。"},
		"bugs-of-weir", nil},

	ConsumerIdle: {Consumer, Down,
		words{"No partitions are read", "没有读取任何分区"},
		words{"Wait some seconds if it has just started. Otherwise see what the group's coordinator says.", "如果刚刚启动，请稍候几秒；否则检查消费组协调者的状态。"},
		"members-come-and-go", []Kind{KafkaAway, KafkaTopics, EvidenceBroken}},
	ConsumerWaits: {Consumer, Down,
		words{"Partitions wait because something does not take what they have", "有分区因下游不接收而等待"},
		words{"The log says what refuses: an output topic, Redis or the evidence.", "日志会指出拒绝方：输出主题、Redis 或证据。"},
		"a-partition-waits", []Kind{KafkaAway, KafkaTopics, RedisAway, RedisUnsafe, DiskFull, DiskStuck, EvidenceBroken}},
	ConsumerStopped: {Consumer, Down,
		words{"Partitions stand still until their offset is set", "有分区停止，等待设置位移"},
		words{"Kafka deleted what was not read yet. Decide where to go on.", "Kafka 已删除尚未读取的消息，请决定从何处继续。"},
		"a-partition-waits", nil},
	ConsumerBehind: {Consumer, Warn,
		words{"Messages wait for more than a minute", "消息等待超过一分钟"},
		words{"Start more instances, or see what slows this one: the charts below tell judging from writing.", "增加实例，或查看瓶颈：下方图表区分判定与写入耗时。"},
		"a-partition-waits", []Kind{KafkaAway, KafkaSlow, KafkaTopics, RedisAway, RedisUnsafe, DiskFull, DiskStuck, DiskSlow, EvidenceBroken, ConsumerIdle, ConsumerWaits, ConsumerStopped}},
	LedgerUnbalanced: {Consumer, Down,
		words{"The ledger does not balance", "账本不平"},
		words{"Run weir ledger and tell us: this is a bug.", "运行 weir ledger 并告知我们：这是缺陷。"},
		"the-ledger-how-to-prove-that-nothing-is-lost", nil},
	JudgingPanics: {Consumer, Warn,
		words{"Judging a message broke Weir", "判定消息时 Weir 内部出错"},
		words{"Such messages are dead letters. Tell us, with the stack in the log: this is a bug.", "此类消息已进入死信。请将日志中的堆栈告知我们：这是缺陷。"},
		"bugs-of-weir", nil},
	ManyDeadLetters: {Consumer, Warn,
		words{"Many messages cannot be judged", "大量消息无法判定"},
		words{"See why with weir deadletter show, and who sends them.", "用 weir deadletter show 查看原因，并联系发送方。"},
		"dead-letters", nil},
	PushesHalted: {Rules, Warn,
		words{"Pushes are halted", "有推送被叫停"},
		words{"See which, and resume what is in order, with weir push halts.", "用 weir push halts 查看，并恢复正常的推送。"},
		"a-campaign-is-stopped", nil},
	APIRefuses: {API, Warn,
		words{"Who asks for a verdict is refused", "同步判定请求被拒绝"},
		words{"Too many requests are in hand. See what they wait for, or add instances; nothing passes unjudged.", "在处理的请求过多。检查它们在等待什么，或增加实例；不会有内容未经判定而放行。"},
		"no-answer-to-who-asks", []Kind{KafkaAway, RedisAway, DiskFull, DiskStuck, EvidenceBroken}},
	MetricsUnreadable: {Consumer, Warn,
		words{"Some numbers on this page are old", "本页部分数字已过时"},
		words{"See /metrics; a part of Weir does not answer.", "查看 /metrics；Weir 的某个部分没有响应。"},
		"the-status-page", []Kind{DiskStuck}},
}

// Kinds returns all kinds of problems, with the part each belongs to.
func Kinds() map[Kind]PartName {
	list := make(map[Kind]PartName, len(kinds))
	for k, a := range kinds {
		list[k] = a.part
	}
	return list
}

// runbook is where docs/operations.md can be read.
const runbook = "https://github.com/weir-moderation/weir/blob/main/docs/operations.md#"
