// Admin: ACLs, delegation tokens, quotas, SCRAM users. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const SECURITY: string = `
api 29 DescribeAcls 1-3 flex 2 {
  resourceTypeFilter:i8
  resourceNameFilter:str?
  patternTypeFilter:i8=3
  principalFilter:str?
  hostFilter:str?
  operation:i8
  permissionType:i8
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
  resources:[
    resourceType:i8
    resourceName:str
    patternType:i8=3
    acls:[principal:str host:str operation:i8 permissionType:i8]
  ]
}

api 30 CreateAcls 1-3 flex 2 {
  creations:[
    resourceType:i8
    resourceName:str
    resourcePatternType:i8=3
    principal:str
    host:str
    operation:i8
    permissionType:i8
  ]
} {
  throttleTimeMs:i32
  results:[errorCode:i16 errorMessage:str?]
}

api 31 DeleteAcls 1-3 flex 2 {
  filters:[
    resourceTypeFilter:i8
    resourceNameFilter:str?
    patternTypeFilter:i8=3
    principalFilter:str?
    hostFilter:str?
    operation:i8
    permissionType:i8
  ]
} {
  throttleTimeMs:i32
  filterResults:[
    errorCode:i16
    errorMessage:str?
    matchingAcls:[
      errorCode:i16
      errorMessage:str?
      resourceType:i8
      resourceName:str
      patternType:i8=3
      principal:str
      host:str
      operation:i8
      permissionType:i8
    ]
  ]
}

api 38 CreateDelegationToken 1-3 flex 2 {
  ownerPrincipalType:str?@3+!
  ownerPrincipalName:str?@3+!
  renewers:[principalType:str principalName:str]
  maxLifetimeMs:time
} {
  errorCode:i16
  principalType:str
  principalName:str
  tokenRequesterPrincipalType:str@3+!
  tokenRequesterPrincipalName:str@3+!
  issueTimestampMs:time
  expiryTimestampMs:time
  maxTimestampMs:time
  tokenId:str
  hmac:bytes
  throttleTimeMs:i32
}

api 39 RenewDelegationToken 1-2 flex 2 {
  hmac:bytes
  renewPeriodMs:time
} {
  errorCode:i16
  expiryTimestampMs:time
  throttleTimeMs:i32
}

api 40 ExpireDelegationToken 1-2 flex 2 {
  hmac:bytes
  expiryTimePeriodMs:time
} {
  errorCode:i16
  expiryTimestampMs:time
  throttleTimeMs:i32
}

api 41 DescribeDelegationToken 1-3 flex 2 {
  owners:[principalType:str principalName:str]?
} {
  errorCode:i16
  tokens:[
    principalType:str
    principalName:str
    tokenRequesterPrincipalType:str@3+!
    tokenRequesterPrincipalName:str@3+!
    issueTimestamp:time
    expiryTimestamp:time
    maxTimestamp:time
    tokenId:str
    hmac:bytes
    renewers:[principalType:str principalName:str]
  ]
  throttleTimeMs:i32
}

api 48 DescribeClientQuotas 0-1 flex 1 {
  components:[entityType:str matchType:i8 match:str?]
  strict:bool
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
  entries:[entity:[entityType:str entityName:str?] values:[key:str value:f64]]?
}

api 49 AlterClientQuotas 0-1 flex 1 {
  entries:[entity:[entityType:str entityName:str?] ops:[key:str value:f64 remove:bool]]
  validateOnly:bool
} {
  throttleTimeMs:i32
  entries:[errorCode:i16 errorMessage:str? entity:[entityType:str entityName:str?]]
}

api 50 DescribeUserScramCredentials 0 flex 0 {
  users:[name:str]?
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
  results:[
    user:str
    errorCode:i16
    errorMessage:str?
    credentialInfos:[mechanism:i8 iterations:i32]
  ]
}

api 51 AlterUserScramCredentials 0 flex 0 {
  deletions:[name:str mechanism:i8]
  upsertions:[name:str mechanism:i8 iterations:i32 salt:bytes saltedPassword:bytes]
} {
  throttleTimeMs:i32
  results:[user:str errorCode:i16 errorMessage:str?]
}
`
